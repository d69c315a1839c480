//! Numbers out of Thrift's compact protocol, in which Parquet writes its footer and the head of each page.
//! <https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>
//!
//! Nothing is allocated but the path of ids that leads to a number; what a list says of its length must be there.

/// Structs in structs; Parquet has a handful.
const DEPTH_MAX: usize = 32;

/// Why a struct could not be walked over.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// It goes on behind the bytes.
    Short,
    /// It is not what may stand in a Parquet file.
    Refused(String),
}

type Result<T> = std::result::Result<T, Stop>;

/// Walks over the struct that the bytes begin with, and tells of every number in it: the ids of the fields that lead to it,
/// and its value.
pub(super) fn walk(bytes: &[u8], number: &mut dyn FnMut(&[i16], i64) -> Result<()>) -> Result<()> {
    Walk { bytes, path: Vec::new(), number }.structure()
}

struct Walk<'a> {
    bytes: &'a [u8],
    path: Vec<i16>,
    number: &'a mut dyn FnMut(&[i16], i64) -> Result<()>,
}

impl Walk<'_> {
    fn structure(&mut self) -> Result<()> {
        if self.path.len() > DEPTH_MAX {
            return Err(Stop::Refused(format!("structs of more than {DEPTH_MAX} levels")));
        }
        let mut id = 0_i16;
        loop {
            let head = self.byte()?;
            if head & 0x0f == 0 {
                return Ok(());
            }
            id = match head >> 4 {
                0 => self.zigzag()? as i16,
                delta => id.wrapping_add(i16::from(delta)),
            };
            self.path.push(id);
            self.value(head & 0x0f)?;
            self.path.pop();
        }
    }

    fn value(&mut self, kind: u8) -> Result<()> {
        match kind {
            // The kind of a field says whether it is true.
            1 | 2 => Ok(()),
            3 => self.skip(1),
            4..=6 => {
                let value = self.zigzag()?;
                (self.number)(&self.path, value)
            }
            7 => self.skip(8),
            8 => {
                let length = self.varint()?;
                self.skip(length)
            }
            9 | 10 => self.list(),
            12 => self.structure(),
            13 => self.skip(16),
            _ => Err(Stop::Refused(format!("a field of kind {kind}"))),
        }
    }

    fn list(&mut self) -> Result<()> {
        let head = self.byte()?;
        let length = match head >> 4 {
            15 => self.varint()?,
            length => u64::from(length),
        };
        // Each element has a byte at least.
        if length > self.bytes.len() as u64 {
            return Err(Stop::Short);
        }
        for _ in 0..length {
            match head & 0x0f {
                1 | 2 => self.skip(1)?,
                kind => self.value(kind)?,
            }
        }
        Ok(())
    }

    fn zigzag(&mut self) -> Result<i64> {
        let value = self.varint()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    fn varint(&mut self) -> Result<u64> {
        let mut value = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Stop::Refused("a number of more than 64 bits".to_owned()))
    }

    fn byte(&mut self) -> Result<u8> {
        let (first, rest) = self.bytes.split_first().ok_or(Stop::Short)?;
        self.bytes = rest;
        Ok(*first)
    }

    fn skip(&mut self, length: u64) -> Result<()> {
        let length = usize::try_from(length).map_err(|_| Stop::Short)?;
        self.bytes = self.bytes.get(length..).ok_or(Stop::Short)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(bytes: &[u8]) -> Result<Vec<(Vec<i16>, i64)>> {
        let mut numbers = Vec::new();
        walk(bytes, &mut |path, value| {
            numbers.push((path.to_vec(), value));
            Ok(())
        })?;
        Ok(numbers)
    }

    #[test]
    fn numbers_come_with_their_places() {
        // 1: i32 -3, 2: [{1: i64 300, 2: "ab"}, {}], 20: true, 21: [true, false], 22: i16 7
        let bytes = [
            0x15, 0x05, 0x19, 0x2c, 0x16, 0xd8, 0x04, 0x18, 0x02, b'a', b'b', 0x00, 0x00, 0x01, 0x28, 0x19, 0x21, 0x01,
            0x02, 0x14, 0x0e, 0x00, 0xff,
        ];
        let expected = vec![(vec![1], -3), (vec![2, 1], 300), (vec![22], 7)];
        assert_eq!(numbers(&bytes), Ok(expected));
        for length in 0..bytes.len() - 1 {
            assert_eq!(numbers(&bytes[..length]), Err(Stop::Short), "{length}");
        }
    }

    #[test]
    fn what_no_parquet_file_has_is_refused() {
        for bytes in
            [&[0x1b, 0x00][..], &[0x1e], &[0x16, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255], &[0x1c; 99]]
        {
            assert!(matches!(numbers(bytes), Err(Stop::Refused(_))), "{bytes:x?}");
        }
        // A list of 2^31 - 1 structs.
        assert_eq!(numbers(&[0x19, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x07]), Err(Stop::Short));
    }
}
