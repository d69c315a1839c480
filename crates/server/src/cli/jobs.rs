//! `eye jobs`: what runs in the background, and how it went.

use eye_event::Timestamp;
use serde::Deserialize;

use super::Context;
use super::failure::Result;
use super::text::{span, thousands};
use super::view;

pub(crate) const EXAMPLES: &str = "\
Examples:
  eye jobs
  eye jobs --json | jq '.jobs[] | select(.last_error)'";

const MICROS_PER_SECOND: f64 = 1e6;

#[derive(Deserialize)]
struct Answer {
    jobs: Vec<Job>,
}

#[derive(Deserialize)]
struct Job {
    name: String,
    period_seconds: Option<f64>,
    runs: u64,
    failures: u64,
    last_success: Option<Timestamp>,
    last_error: Option<String>,
    progress: String,
}

pub(crate) fn run(context: &Context<'_>) -> Result<()> {
    let answer = context.client()?.get("/v1/jobs", &[])?;
    context.output.answer(&answer, || {
        let rows = view::read::<Answer>(&answer)?.jobs.into_iter().map(|job| {
            #[expect(clippy::cast_possible_truncation, reason = "a period is short")]
            let every = |seconds: f64| span((seconds * MICROS_PER_SECOND) as i64);
            vec![
                job.name,
                job.period_seconds.map_or_else(|| "–".to_owned(), every),
                thousands(job.runs),
                thousands(job.failures),
                job.last_success.map_or_else(|| "–".to_owned(), |at| at.to_string()),
                job.last_error.map_or(job.progress, |error| format!("failed: {error}")),
            ]
        });
        let header = ["job", "every", "runs", "failed", "last", "state"];
        Ok(context.output.table(&header, &["runs", "failed"], rows))
    })
}
