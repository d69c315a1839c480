//! `eye tail`: events as they arrive. Lost connections are taken up where they broke; what could not be resent is said.

use std::io::{BufRead, BufReader, Read};
use std::thread;
use std::time::Duration;

use serde::Deserialize;

use super::Context;
use super::client::{Client, Trouble};
use super::events::Filters;
use super::failure::{Failure, Result};
use super::output::{Output, Tone, note};
use super::text::{cut, safe};
use super::view::{self, Event};

pub(crate) const EXAMPLES: &str = "\
One event a line. After a lost connection it goes on behind the last event shown; a gap is announced on stderr.

Examples:
  eye tail
  eye tail --category checkout --json | jq .name
  eye tail --after 57 --count 10";

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);
const MESSAGE_BYTES_MAX: u64 = 4 << 20;
const DATA_CHARS_MAX: usize = 100;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    filters: Filters,
    /// Start behind this offset, not now
    #[arg(long, value_name = "OFFSET")]
    after: Option<String>,
    /// Stop after this many events
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

/// One message of the stream.
#[derive(Debug, Default, PartialEq, Eq)]
struct Message {
    event: String,
    id: Option<String>,
    data: String,
}

#[derive(Deserialize)]
struct Gap {
    from: String,
    to: String,
}

pub(crate) fn run(context: &Context<'_>, args: &Args) -> Result<()> {
    let client = context.client()?;
    let query = args.filters.query();
    let mut tail = Tail { output: context.output, after: args.after.clone(), left: args.count, shown: false };
    let mut pause = FIRST_PAUSE;
    let mut was_connected = false;
    loop {
        match tail.follow(&client, &query, &mut was_connected) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(Broken::Failure(failure)) => return Err(failure),
            Err(Broken::Trouble(trouble)) if !was_connected || !is_passing(&trouble) => {
                return Err(client.failure(trouble));
            }
            Err(Broken::Trouble(_)) => {}
        }
        if std::mem::take(&mut tail.shown) {
            pause = FIRST_PAUSE;
        }
        note("eye: the connection broke; trying again");
        thread::sleep(pause);
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// True if the same request may succeed later.
fn is_passing(trouble: &Trouble) -> bool {
    match trouble {
        Trouble::Network(_) => true,
        Trouble::Refused(refusal) => matches!(refusal.status, 408 | 429 | 500..),
    }
}

enum Broken {
    Failure(Failure),
    Trouble(Trouble),
}

struct Tail {
    output: Output,
    after: Option<String>,
    left: Option<u64>,
    /// Something came since the last connect.
    shown: bool,
}

impl Tail {
    /// Follows one connection. True when enough has been shown, false when it ended.
    fn follow(
        &mut self,
        client: &Client,
        query: &[(&str, String)],
        was_connected: &mut bool,
    ) -> std::result::Result<bool, Broken> {
        if self.left == Some(0) {
            return Ok(true);
        }
        let mut stream = client.live(query, self.after.as_deref()).map_err(Broken::Trouble)?;
        *was_connected = true;
        while let Some(message) = next_message(&mut stream) {
            self.shown = true;
            if self.show(&message).map_err(Broken::Failure)? {
                return Ok(true);
            }
            self.after = message.id.or(self.after.take());
        }
        Ok(false)
    }

    fn show(&mut self, message: &Message) -> Result<bool> {
        match message.event.as_str() {
            "gap" => {
                let gap: Gap = view::read(&message.data)?;
                note(&format!(
                    "eye: events between the offsets {} and {} were not resent; \"eye events\" has them",
                    safe(&gap.from),
                    safe(&gap.to)
                ));
                return Ok(false);
            }
            "event" => {}
            // A newer server may say more than we know.
            _ => return Ok(false),
        }
        if self.output.is_json() {
            self.output.document(&message.data)?;
        } else {
            let event: Event = view::read(&message.data)?;
            self.output.line(&line(self.output, &event))?;
        }
        self.left = self.left.map(|left| left.saturating_sub(1));
        Ok(self.left == Some(0))
    }
}

fn line(output: Output, event: &Event) -> String {
    let problems = if event.problems.is_empty() {
        String::new()
    } else {
        format!("  {}", output.tone(Tone::Warning, &format!("! {}", safe(&event.problems.join(", ")))))
    };
    format!(
        "{}  {}  {}  {} {}{problems}  {}",
        event.received_at.to_seed_string(),
        safe(&event.application),
        safe(&event.session_id),
        safe(&event.category),
        output.tone(Tone::Strong, &safe(&event.name)),
        output.tone(Tone::Quiet, &cut(&safe(event.data_text()), DATA_CHARS_MAX))
    )
    .trim_end()
    .to_owned()
}

/// The next whole message; `None` when the stream has ended or broken, whatever the reason: a half message is dropped
/// and comes again after the reconnect.
fn next_message(stream: &mut BufReader<impl Read>) -> Option<Message> {
    let mut message = Message::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = stream.by_ref().take(MESSAGE_BYTES_MAX).read_until(b'\n', &mut line).ok()?;
        if read == 0 || line.pop() != Some(b'\n') || message.data.len() as u64 > MESSAGE_BYTES_MAX {
            return None;
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches('\r');
        if text.is_empty() {
            if message.data.is_empty() {
                message = Message::default();
                continue;
            }
            return Some(message);
        }
        let (field, value) = text.split_once(':').unwrap_or((text, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut message.event),
            "id" => message.id = Some(value.to_owned()),
            "data" => {
                if !message.data.is_empty() {
                    message.data.push('\n');
                }
                message.data.push_str(value);
            }
            // Comments have an empty field; `retry` is our own business.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_and_a_half_one_is_not() {
        let text = ": heartbeat\n\nevent: event\nid: 57,12\ndata: {\"a\":\ndata: 1}\n\nevent:gap\r\ndata:{}\r\n\r\nevent: event\ndata: half";
        let mut stream = BufReader::with_capacity(3, text.as_bytes());
        let message = |event: &str, id: Option<&str>, data: &str| {
            Some(Message { event: event.to_owned(), id: id.map(str::to_owned), data: data.to_owned() })
        };
        assert_eq!(next_message(&mut stream), message("event", Some("57,12"), "{\"a\":\n1}"));
        assert_eq!(next_message(&mut stream), message("gap", None, "{}"));
        assert_eq!(next_message(&mut stream), None);
    }
}
