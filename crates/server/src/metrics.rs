//! Every metric, declared once, with its documentation and unit. `/metrics` gives them as Prometheus text.
//!
//! Counters of the hot path are resolved to their label once, at the start: counting is one atomic addition. Figures
//! that the store knows better are read from it when somebody asks.

use std::sync::Arc;

use eye_event::RejectCode;
use prometheus::{Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};

use crate::state::AppState;

/// From a tenth of a millisecond to ten seconds.
const ACK_SECONDS: [f64; 16] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// All metrics. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Metrics(Arc<Inner>);

impl std::ops::Deref for Metrics {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

macro_rules! metrics {
    (
        counters { $($counter:ident $counter_name:literal $counter_doc:literal;)* }
        labelled { $($vec:ident [$($label:literal),*] $vec_name:literal $vec_doc:literal;)* }
        gauges { $($gauge:ident $gauge_name:literal $gauge_doc:literal;)* }
    ) => {
        /// The metrics by name.
        pub(crate) struct Inner {
            registry: Registry,
            rejected_by_code: Vec<IntCounter>,
            /// `eye_requests_total` of what is answered most: `/v1/events` with 200.
            events_answered: Option<IntCounter>,
            /// Time from reading a collect request's head to its answer.
            pub(crate) ack_seconds: Histogram,
            dedup_window_seconds: Gauge,
            $(#[doc = $counter_doc] pub(crate) $counter: IntCounter,)*
            $(#[doc = $vec_doc] pub(crate) $vec: IntCounterVec,)*
            $(#[doc = $gauge_doc] pub(crate) $gauge: IntGauge,)*
        }

        impl Inner {
            fn declare() -> Result<Self, prometheus::Error> {
                let registry = Registry::new();
                $(let $counter = IntCounter::new($counter_name, $counter_doc)?;
                  registry.register(Box::new($counter.clone()))?;)*
                $(let $vec = IntCounterVec::new(Opts::new($vec_name, $vec_doc), &[$($label),*])?;
                  registry.register(Box::new($vec.clone()))?;)*
                $(let $gauge = IntGauge::new($gauge_name, $gauge_doc)?;
                  registry.register(Box::new($gauge.clone()))?;)*
                let ack = "Time from a collect request's head to its answer, in seconds.";
                let options = HistogramOpts::new("eye_collect_ack_seconds", ack).buckets(ACK_SECONDS.to_vec());
                let ack_seconds = Histogram::with_opts(options)?;
                registry.register(Box::new(ack_seconds.clone()))?;
                let window = "The dedup window really covered, in seconds: shorter than configured if ids were forgotten early.";
                let dedup_window_seconds = Gauge::new("eye_dedup_window_seconds", window)?;
                registry.register(Box::new(dedup_window_seconds.clone()))?;
                Ok(Self {
                    registry,
                    rejected_by_code: Vec::new(),
                    events_answered: None,
                    ack_seconds,
                    dedup_window_seconds,
                    $($counter,)*
                    $($vec,)*
                    $($gauge,)*
                })
            }
        }
    };
}

metrics! {
    counters {
        events_received "eye_events_received_total" "Things received in answered requests: stored, duplicate and rejected together.";
        events_stored "eye_events_stored_total" "Events stored.";
        events_duplicate "eye_events_duplicate_total" "Events whose identity was stored before, within the dedup window.";
        wire_bytes "eye_body_wire_bytes_total" "Bytes of collect bodies as they came, compressed or not.";
        body_bytes "eye_body_bytes_total" "Bytes of collect bodies after decompression.";
        connections_refused "eye_connections_refused_total" "Connections closed at once because their address has too many.";
        connections_silent "eye_connections_silent_total" "Connections closed because no request began on them in time, or before another one needed the room.";
        answers_stalled "eye_answers_stalled_total" "Answers given up because their client took nothing of them for answer_idle_timeout; over HTTP/1 and of PostgreSQL clients with their connection, which over HTTP/2 counts beside its answers.";
    }
    labelled {
        requests ["route", "status"] "eye_requests_total" "Requests answered, by route and status.";
        events_rejected ["code"] "eye_events_rejected_total" "Things refused and kept as rejections, by code.";
        requests_failed ["code"] "eye_collect_failed_total" "Collect requests of which nothing was taken, by code of the error.";
        requests_unauthenticated ["reason"] "eye_requests_unauthenticated_total" "Requests without a valid token, by reason.";
    }
    gauges {
        connections "eye_connections" "Open connections.";
        body_budget_used "eye_body_budget_used_bytes" "Bytes of bodies in memory.";
        body_budget_max "eye_body_budget_max_bytes" "Bytes of bodies that may be in memory.";
        table_version "eye_table_version" "Version of the table of events.";
        table_bytes "eye_table_bytes" "Bytes of the table's files.";
        table_files "eye_table_files" "Files of the table.";
        table_rows "eye_table_rows" "Events in the table.";
        hot_rows "eye_hot_rows" "Rows in the hot buffer, events and rejections.";
        hot_bytes "eye_hot_bytes" "Bytes in the hot buffer.";
        log_bytes "eye_log_bytes" "Bytes of the log on disk.";
        flushes "eye_flushes" "Flushes to the table since the start.";
        flush_failing "eye_flush_failing" "1 if the last flush failed, else 0.";
        compactions "eye_compactions" "Compactions of the table since the start, those that found nothing to do too.";
        compactions_failed "eye_compactions_failed" "Compactions that failed since the start; each is tried again.";
        compaction_failing "eye_compaction_failing" "1 if the last compaction failed, else 0.";
        compaction_files_in "eye_compaction_files_in" "Files that compactions have replaced since the start.";
        compaction_files_out "eye_compaction_files_out" "Files that took their place.";
        compaction_bytes_in "eye_compaction_bytes_in" "Bytes of the files that compactions have replaced since the start.";
        compaction_bytes_out "eye_compaction_bytes_out" "Bytes of the files that took their place.";
        compaction_last_success "eye_compaction_last_success_seconds" "When a compaction ended well last, in seconds since 1970; 0 if none has since the start.";
        vacuumed_files "eye_vacuumed_files" "Files that nobody needed any more and that were removed since the start.";
        rows_erased "eye_rows_erased" "Rows of both tables that were erased since the data folder was made.";
        rows_expired "eye_rows_expired" "Rows of both tables that became too old since the data folder was made.";
        retention_failing "eye_retention_failing" "1 if the last look for what is too old failed, else 0.";
        retention_last_success "eye_retention_last_success_seconds" "When a look for what is too old ended well last, in seconds since 1970; 0 if none has since the start.";
        erasures_running "eye_erasures_running" "Erasures that are accepted and not done.";
        erasures_failing "eye_erasures_failing" "Erasures whose last try failed; each is tried again.";
        dedup_ids "eye_dedup_ids" "Event ids in memory.";
        dedup_rows_left "eye_dedup_rows_left" "Rows of the table that the dedup window covers and that are not in memory yet.";
        dedup_bytes "eye_dedup_bytes" "Memory of the remembered event ids, in bytes.";
        dedup_forgotten_early "eye_dedup_forgotten_early" "Event ids forgotten before their window was over, since the start.";
        ready "eye_ready" "1 if events are taken, else 0.";
    }
}

/// An open connection; counted down when dropped.
pub(crate) struct OpenConnection(IntGauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// Makes and registers them all.
    ///
    /// # Errors
    /// Never: a test makes them.
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let mut inner = Inner::declare()?;
        let counter = |code: &RejectCode| inner.events_rejected.with_label_values(&[code.code()]);
        inner.rejected_by_code = RejectCode::ALL.iter().map(counter).collect();
        inner.events_answered = Some(inner.requests.with_label_values(&["/v1/events", "200"]));
        Ok(Self(Arc::new(inner)))
    }

    /// Counts a connection as long as the answer lives.
    pub(crate) fn connection_opened(&self) -> OpenConnection {
        self.connections.inc();
        OpenConnection(self.connections.clone())
    }

    /// Counts a request without a valid token.
    pub(crate) fn unauthenticated(&self, reason: &str) {
        self.requests_unauthenticated.with_label_values(&[reason]).inc();
    }

    /// Counts one refused thing.
    pub(crate) fn rejected(&self, code: RejectCode) {
        if let Some(counter) = self.rejected_by_code.get(code as usize - 1) {
            counter.inc();
        }
    }

    /// Counts a `/v1/events` answered with 200.
    pub(crate) fn events_answered(&self) {
        if let Some(counter) = &self.events_answered {
            counter.inc();
        }
    }

    /// Counts an answered request.
    pub(crate) fn answered(&self, route: &str, status: u16) {
        let mut buffer = [0; 3];
        self.requests.with_label_values(&[route, status_text(status, &mut buffer)]).inc();
    }

    /// Everything as Prometheus text, the store's figures included. Waits for apply: not on a thread of the runtime.
    ///
    /// # Errors
    /// A bug in a metric.
    pub(crate) fn text(&self, state: &AppState) -> Result<String, prometheus::Error> {
        self.observe(state);
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }

    fn observe(&self, state: &AppState) {
        let status = state.store.status();
        let whole = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let size = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        self.body_budget_used.set(size(state.budget.used()));
        self.body_budget_max.set(size(state.settings.body_budget_bytes_max));
        self.table_version.set(whole(status.version));
        self.table_bytes.set(whole(status.table_bytes));
        self.table_files.set(size(status.table_files));
        self.table_rows.set(whole(status.table_rows));
        self.hot_rows.set(size(status.hot_rows));
        self.hot_bytes.set(size(status.hot_bytes));
        self.log_bytes.set(whole(status.log_bytes));
        self.flushes.set(whole(status.flushes));
        self.flush_failing.set(i64::from(status.last_flush_error.is_some()));
        let compaction = &status.compaction;
        self.compactions.set(whole(compaction.runs));
        self.compactions_failed.set(whole(compaction.failures));
        self.compaction_failing.set(i64::from(compaction.last_error.is_some()));
        self.compaction_files_in.set(whole(compaction.files_in));
        self.compaction_files_out.set(whole(compaction.files_out));
        self.compaction_bytes_in.set(whole(compaction.bytes_in));
        self.compaction_bytes_out.set(whole(compaction.bytes_out));
        self.compaction_last_success.set(compaction.last_success.map_or(0, |at| at.micros().div_euclid(1_000_000)));
        self.vacuumed_files.set(whole(compaction.vacuumed_files));
        self.rows_erased.set(whole(status.removed.erased));
        self.rows_expired.set(whole(status.removed.expired));
        let retention = &status.retention;
        self.retention_failing.set(i64::from(retention.last_error.is_some()));
        self.retention_last_success.set(retention.last_success.map_or(0, |at| at.micros().div_euclid(1_000_000)));
        self.erasures_running.set(size(status.erasures_running));
        self.erasures_failing.set(size(status.erasures_failing));
        self.dedup_ids.set(size(status.dedup_ids));
        self.dedup_rows_left.set(whole(status.dedup_rows_left));
        self.dedup_bytes.set(size(status.dedup_bytes));
        self.dedup_forgotten_early.set(whole(status.dedup_forgotten_early));
        #[expect(clippy::cast_precision_loss, reason = "a window of seconds is far below 2^52")]
        self.dedup_window_seconds.set(status.dedup_window_seconds as f64);
        self.ready.set(i64::from(crate::health::readiness(state).is_ok()));
    }
}

fn status_text(status: u16, buffer: &mut [u8; 3]) -> &str {
    for (place, divisor) in buffer.iter_mut().zip([100, 10, 1]) {
        *place = b'0' + (status / divisor % 10) as u8;
    }
    std::str::from_utf8(buffer).unwrap_or("???")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_registered_once() {
        let metrics = Metrics::new().unwrap();
        metrics.answered("/v1/events", 200);
        metrics.unauthenticated("missing_token");
        for code in RejectCode::ALL {
            metrics.rejected(code);
            assert_eq!(metrics.events_rejected.with_label_values(&[code.code()]).get(), 1, "{code}");
        }
        let text = TextEncoder::new().encode_to_string(&metrics.registry.gather()).unwrap();
        assert!(text.contains("eye_requests_total{route=\"/v1/events\",status=\"200\"} 1"), "{text}");
    }

    #[test]
    fn open_connections_are_counted_down() {
        let metrics = Metrics::new().unwrap();
        let open = metrics.connection_opened();
        assert_eq!(metrics.connections.get(), 1);
        drop(open);
        assert_eq!(metrics.connections.get(), 0);
    }
}
