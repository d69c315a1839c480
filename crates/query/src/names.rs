//! [`Names`]: texts as numbers, so that states are small and many rows share one copy.

use ahash::AHashMap;

/// Texts as numbers, each kept once.
#[derive(Default)]
pub(crate) struct Names {
    numbers: AHashMap<Box<str>, u32>,
    texts: Vec<Box<str>>,
}

impl Names {
    /// How many distinct texts there are.
    pub(crate) fn len(&self) -> usize {
        self.texts.len()
    }

    /// The number of this text; a new one if it is new.
    pub(crate) fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
        self.numbers.insert(text.into(), number);
        self.texts.push(text.into());
        number
    }

    /// The text with this number.
    pub(crate) fn text(&self, number: u32) -> &str {
        self.texts.get(number as usize).map_or("", |text| text)
    }
}
