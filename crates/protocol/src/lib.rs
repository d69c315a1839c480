//! Pure decoders: the bytes of a request to drafts of events.
//!
//! No I/O, no clock, no HTTP types: a decoder gets a body (already decompressed) and its content type, and gives
//! [`eye_event::Draft`]s that borrow from it. Whether a draft is an event is decided by [`eye_event::check()`] alone.
//! Two rules hold for every decoder: no input makes it panic, and no input makes it use more than memory in proportion
//! to its length (nothing recurses over what a client nested).
//!
//! | module | what it reads |
//! |---|---|
//! | [`native`] | one object, an array, NDJSON, or the envelope of the native API |
//! | [`seed`] | the requests and answers of the seed API, as Django REST framework gives them |
//!
//! Each further protocol is one more module beside these.

pub mod native;
mod python_json;
mod scan;
pub mod seed;
mod text;
