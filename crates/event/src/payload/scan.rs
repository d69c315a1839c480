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

/// Several paths, to be found in one pass.
#[derive(Clone, Debug)]
pub struct Picker {
    paths: Vec<Vec<String>>,
    /// The first stands for the whole text.
    nodes: Vec<Node>,
}

/// A place in a text that a path leads to or through.
#[derive(Clone, Debug, Default)]
struct Node {
    /// The key of each place below, and its node.
    below: Vec<(String, usize)>,
    /// The paths that end here.
    ends: Vec<usize>,
}

impl Picker {
    /// For these paths: keys of objects, or places in arrays counted from 0.
    #[must_use]
    pub fn new(paths: &[Vec<String>]) -> Self {
        let mut nodes = vec![Node::default()];
        for (number, path) in paths.iter().enumerate() {
            let mut place = 0;
            for key in path {
                let known = nodes[place].below.iter().find(|(known, _)| known == key).map(|(_, node)| *node);
                place = known.unwrap_or_else(|| {
                    nodes.push(Node::default());
                    let node = nodes.len() - 1;
                    nodes[place].below.push((key.clone(), node));
                    node
                });
            }
            nodes[place].ends.push(number);
        }
        Self { paths: paths.to_vec(), nodes }
    }

    /// What [`super::find`] gives of each path, in their order; `found` is cleared first.
    pub fn pick<'a>(&self, json: &'a str, found: &mut Vec<Option<&'a str>>) {
        found.clear();
        found.resize(self.paths.len(), None);
        let mut scanner = Scanner { text: json.as_bytes(), at: 0 };
        if scanner.pick(self, 0, json, found).is_err() {
            for (found, path) in found.iter_mut().zip(&self.paths) {
                *found = super::parse(json, path);
            }
        }
    }

    /// What was found below a place is forgotten: its key stands there once more.
    fn forget(&self, node: usize, found: &mut [Option<&str>]) {
        self.nodes[node].ends.iter().for_each(|end| found[*end] = None);
        self.nodes[node].below.iter().for_each(|(_, node)| self.forget(*node, found));
    }
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'t> Scanner<'t> {
    /// Passes a value; says where the one at the path in it begins and ends.
    fn walk(&mut self, path: &[String]) -> Result<Option<(usize, usize)>, Unsure> {
        let first = self.space()?;
        let Some((key, rest)) = path.split_first() else {
            let start = self.at;
            self.skip(first)?;
            return Ok(Some((start, self.at)));
        };
        match first {
            b'{' => {}
            b'[' => return Err(Unsure),
            _ => return self.skip(first).map(|()| None),
        }
        let mut found = None;
        self.members(|scanner, name| {
            if name == key.as_bytes() {
                found = scanner.walk(rest)?;
                return Ok(());
            }
            scanner.pass()
        })?;
        Ok(found)
    }

    /// Passes an object; each time `value` is called it must pass the value of this key.
    fn members(&mut self, mut value: impl FnMut(&mut Self, &[u8]) -> Result<(), Unsure>) -> Result<(), Unsure> {
        self.at += 1;
        let mut next = self.space()?;
        while next == b'"' {
            let key = self.key()?;
            if self.space()? != b':' {
                return Err(Unsure);
            }
            self.at += 1;
            value(self, key)?;
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
        Ok(())
    }

    /// Passes the value that comes next.
    fn pass(&mut self) -> Result<(), Unsure> {
        let first = self.space()?;
        self.skip(first)
    }

    /// Passes a value; keeps those that paths through this node lead to.
    fn pick<'a>(
        &mut self,
        picker: &Picker,
        node: usize,
        json: &'a str,
        found: &mut [Option<&'a str>],
    ) -> Result<(), Unsure> {
        let first = self.space()?;
        let (start, Node { below, ends }) = (self.at, &picker.nodes[node]);
        match first {
            b'[' if !below.is_empty() => return Err(Unsure),
            b'{' if !below.is_empty() => {
                self.members(|scanner, key| match below.iter().find(|(known, _)| known.as_bytes() == key) {
                    None => scanner.pass(),
                    Some((_, node)) => {
                        picker.forget(*node, found);
                        scanner.pick(picker, *node, json, found)
                    }
                })?
            }
            _ => self.skip(first)?,
        }
        for end in ends {
            found[*end] = json.get(start..self.at);
        }
        Ok(())
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
    fn key(&mut self) -> Result<&'t [u8], Unsure> {
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
