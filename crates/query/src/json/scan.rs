//! A way through JSON that is known to be whole: brackets and quotes are looked at, the rest is skipped.

use memchr::memchr2;

/// It takes a parser to tell.
#[derive(Debug)]
pub(super) struct Unsure;

/// The text of the value at this path of keys; `None` if there is none.
pub(super) fn find<'a>(json: &'a str, path: &[String]) -> Result<Option<&'a str>, Unsure> {
    let mut scanner = Scanner { text: json.as_bytes(), at: 0 };
    scanner.walk(path).map(|range| range.and_then(|(start, end)| json.get(start..end)))
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    /// Passes a value; says where the one at the path in it begins and ends.
    fn walk(&mut self, path: &[String]) -> Result<Option<(usize, usize)>, Unsure> {
        let first = self.space()?;
        let Some((key, rest)) = path.split_first() else {
            let start = self.at;
            self.skip(first)?;
            return Ok(Some((start, self.at)));
        };
        match first {
            b'{' => self.at += 1,
            b'[' => return Err(Unsure),
            _ => return self.skip(first).map(|()| None),
        }
        let mut found = None;
        let mut next = self.space()?;
        while next == b'"' {
            let is_key = self.key()? == key.as_bytes();
            if self.space()? != b':' {
                return Err(Unsure);
            }
            self.at += 1;
            if is_key {
                found = self.walk(rest)?;
            } else {
                let first = self.space()?;
                self.skip(first)?;
            }
            next = self.space()?;
            if next == b',' {
                self.at += 1;
                next = self.space()?;
            }
        }
        if next != b'}' {
            return Err(Unsure);
        }
        self.at += 1;
        Ok(found)
    }

    /// The next byte that is no white space; stays in front of it.
    fn space(&mut self) -> Result<u8, Unsure> {
        loop {
            match self.text.get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                Some(byte) => return Ok(*byte),
                None => return Err(Unsure),
            }
        }
    }

    /// Passes a key without escapes.
    fn key(&mut self) -> Result<&[u8], Unsure> {
        let start = self.at + 1;
        let rest = self.text.get(start..).ok_or(Unsure)?;
        let length = memchr2(b'"', b'\\', rest).filter(|end| rest[*end] == b'"').ok_or(Unsure)?;
        self.at = start + length + 1;
        Ok(&rest[..length])
    }

    /// Passes a value that begins with this byte.
    fn skip(&mut self, first: u8) -> Result<(), Unsure> {
        match first {
            b'"' => self.string(),
            b'{' | b'[' => self.brackets(),
            _ => {
                let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t');
                let rest = self.text.get(self.at..).ok_or(Unsure)?;
                // A number or a word that is the whole text: a parser says whether it is one.
                let length = rest.iter().position(ends).filter(|length| *length > 0).ok_or(Unsure)?;
                self.at += length;
                Ok(())
            }
        }
    }

    fn string(&mut self) -> Result<(), Unsure> {
        self.at += 1;
        loop {
            let rest = self.text.get(self.at..).ok_or(Unsure)?;
            let place = memchr2(b'"', b'\\', rest).ok_or(Unsure)?;
            self.at += place + 1;
            if rest[place] == b'"' {
                return Ok(());
            }
            self.at += 1;
        }
    }

    fn brackets(&mut self) -> Result<(), Unsure> {
        let mut depth = 0_usize;
        loop {
            match self.text.get(self.at).ok_or(Unsure)? {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Ok(());
            }
        }
    }
}
