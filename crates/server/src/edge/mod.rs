//! The HTTP edge: connections, bodies, and the limits that keep one client from harming the others.
//!
//! | module | what it holds |
//! |---|---|
//! | [`accept`] | serving connections, and the life of one |
//! | [`door`] | who is let in |
//! | [`stream`] | a TCP stream that gives up on a client that does not read |
//! | [`answer`] | an answer over HTTP/2 that is given up if its client does not take it |
//! | [`limits`] | how many connections there may be |
//! | [`slots`] | who makes room when all of it is taken |
//! | [`body`] | reading the body of a request |
//! | [`receive`] | its frames, with a limit, against the clock |
//! | [`budget`] | the bytes that all bodies share |
//! | [`turns`] | how many large bodies are worked on at once |
//! | [`decompress`] | gzip, zstd, deflate and brotli, bounded |

pub(crate) mod accept;
mod answer;
pub(crate) mod body;
pub(crate) mod budget;
pub(crate) mod decompress;
mod door;
mod limits;
mod receive;
mod slots;
pub(crate) mod stream;
pub(crate) mod turns;
