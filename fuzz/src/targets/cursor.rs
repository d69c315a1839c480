//! Cursors: one that is read is exactly one that would be written, and another question does not read it.

use crate::memory::within;
use crate::query::cursor::{Cursor, Question};

/// Runs the target on one input: a byte that chooses the question, a byte for the length of a key, a key, a cursor.
pub fn run(data: &[u8]) {
    let [shape, length, rest @ ..] = data else { return };
    let (key, text) = rest.split_at(usize::from(*length).min(rest.len()));
    let question = question(*shape, key);
    let written = Cursor::write(question, key);
    assert_eq!(written.read(question).expect("a cursor is read by its own question"), key);
    assert!(written.read(question.number(Some(7))).is_err(), "another question reads it");
    let text = String::from_utf8_lossy(text).into_owned();
    let sent = Cursor::new(text.clone());
    match within(4096 + 4 * text.len(), || sent.read(question)) {
        Ok(key) => assert_eq!(Cursor::write(question, &key), sent, "two texts are one cursor"),
        Err(error) => assert_eq!((error.field, error.message.is_empty()), ("cursor", false)),
    }
}

fn question(shape: u8, text: &[u8]) -> Question {
    let text = String::from_utf8_lossy(text);
    let name = ["events", "sessions", "problems", "rejections"][usize::from(shape % 4)];
    let mut question = Question::new(name);
    if shape & 4 != 0 {
        question = question.text(Some(&text)).text(None);
    }
    if shape & 8 != 0 {
        question = question.number(Some(shape.into())).number(None);
    }
    question
}
