//! Every limit on one event, named, with its default. Requests have limits of their own, in the server.

/// Limits on one event. All sizes are bytes of UTF-8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `event_id`, `session_id`, `user_id`, `anonymous_id`, `category` and `name`, each.
    pub text_bytes_max: usize,
    /// `data`, as sent.
    pub data_bytes_max: usize,
    /// `context`, as sent.
    pub context_bytes_max: usize,
    /// A timestamp that could not be read.
    pub timestamp_raw_bytes_max: usize,
    /// Levels of arrays and objects in `data` and `context`.
    pub depth_max: usize,
    /// How far ahead of `received_at` a timestamp may lie before it is flagged, in microseconds.
    pub future_micros_max: i64,
    /// How much of a refused thing is kept in its rejection.
    pub sample_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            text_bytes_max: 255,
            data_bytes_max: 64 * 1024,
            context_bytes_max: 64 * 1024,
            timestamp_raw_bytes_max: 1024,
            depth_max: 64,
            future_micros_max: 5 * 60 * 1_000_000,
            sample_bytes_max: 1024,
        }
    }
}
