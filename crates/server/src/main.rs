//! eye
fn main() {}
