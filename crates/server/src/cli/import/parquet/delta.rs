//! How many values stand in a page in a delta encoding: the library makes room for as many as the page says.
//! <https://parquet.apache.org/docs/file-format/data-pages/encodings/>

use parquet::basic::Encoding;
use parquet::column::page::Page;

/// Fails if values in a delta encoding are more than those of the page; `levels` are the highest of repetition and of
/// definition. What is cut short is left to the library.
pub(super) fn check(page: &Page, levels: [i16; 2]) -> Result<(), String> {
    let (lists, count) = match page.encoding() {
        Encoding::DELTA_BINARY_PACKED | Encoding::DELTA_LENGTH_BYTE_ARRAY => (1, u64::from(page.num_values())),
        // Lengths of what is taken from the value before, then lengths of the rest.
        Encoding::DELTA_BYTE_ARRAY => (2, u64::from(page.num_values())),
        _ => return Ok(()),
    };
    if let Page::DataPage { rep_level_encoding, def_level_encoding, .. } = page {
        let mut encodings = levels.iter().zip([rep_level_encoding, def_level_encoding]);
        if encodings.any(|(level, encoding)| *level > 0 && *encoding != Encoding::RLE) {
            return Err("a page has levels in an encoding that goes with no delta encoding".to_owned());
        }
    }
    let mut rest = values(page, levels);
    for _ in 0..lists {
        let Some(bytes) = rest else { break };
        let found = Header::read(&mut &*bytes).map_or(0, |header| header.count);
        if found > count {
            return Err(format!("a page of {count} values says that it has {found}"));
        }
        rest = behind(bytes);
    }
    Ok(())
}

/// What stands behind the levels.
fn values(page: &Page, levels: [i16; 2]) -> Option<&[u8]> {
    let mut bytes: &[u8] = page.buffer();
    match page {
        Page::DataPage { .. } => {
            for _ in levels.iter().filter(|level| **level > 0) {
                let length = u32::from_le_bytes(take(&mut bytes, 4)?.try_into().ok()?);
                take(&mut bytes, u64::from(length))?;
            }
        }
        Page::DataPageV2 { rep_levels_byte_len, def_levels_byte_len, .. } => {
            take(&mut bytes, u64::from(*rep_levels_byte_len) + u64::from(*def_levels_byte_len))?;
        }
        Page::DictionaryPage { .. } => {}
    }
    Some(bytes)
}

/// What a list of numbers begins with.
struct Header {
    block_values: u64,
    /// Parts of a block, each with its own width.
    parts: u64,
    count: u64,
}

impl Header {
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let header = Self { block_values: varint(bytes)?, parts: varint(bytes)?, count: varint(bytes)? };
        varint(bytes)?;
        Some(header)
    }
}

/// What stands behind a list of numbers.
fn behind(mut bytes: &[u8]) -> Option<&[u8]> {
    let header = Header::read(&mut bytes)?;
    let part_values = header.block_values.checked_div(header.parts)?;
    // The first one stands in the header.
    let mut left = header.count.saturating_sub(1);
    while left > 0 {
        varint(&mut bytes)?;
        for width in take(&mut bytes, header.parts)? {
            if left == 0 {
                break;
            }
            take(&mut bytes, u64::from(*width).saturating_mul(part_values) / 8)?;
            left = left.saturating_sub(part_values);
        }
    }
    Some(bytes)
}

fn take<'a>(bytes: &mut &'a [u8], length: u64) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
    *bytes = rest;
    Some(taken)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let byte = *take(bytes, 1)?.first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    /// 128 values a block in 4 parts; 34 values, the first 0; smallest difference 0; 33 of 1 bit.
    const LIST: [u8; 18] = [0x80, 0x01, 4, 34, 0, 0, 1, 1, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];

    fn page(values: &[u8]) -> Page {
        Page::DataPageV2 {
            buf: Bytes::from([&[0xff; 5][..], values].concat()),
            num_values: 40,
            encoding: Encoding::DELTA_BYTE_ARRAY,
            num_nulls: 0,
            num_rows: 40,
            def_levels_byte_len: 3,
            rep_levels_byte_len: 2,
            is_compressed: false,
            statistics: None,
        }
    }

    #[test]
    fn more_values_than_the_page_has_are_refused_in_both_lists() {
        let many = [0x80, 0x01, 4, 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0];
        assert_eq!(behind(&[&LIST[..], b"rest"].concat()), Some(&b"rest"[..]));
        assert_eq!(check(&page(&[LIST, LIST].concat()), [1, 1]), Ok(()));
        for values in [&many[..], &[&LIST[..], &many].concat()] {
            let refused = check(&page(values), [1, 1]).unwrap_err();
            assert_eq!(refused, "a page of 40 values says that it has 4294967295");
        }
    }
}
