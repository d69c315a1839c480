//! Where exported events go: a format over a file that gets its name when it is whole, or over standard output.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use eye_event::{EventRef, Problem};
use eye_log::{Offset, PartitionId};
use eye_query::EventOut;
use eye_store::StoredEvent;
use eye_store::columns::{EventColumns, TableKind};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::cli::csv::{COLUMNS, write_cell};
use crate::cli::failure::{Failure, Result};
use crate::cli::view;

const BUFFER_BYTES: usize = 256 << 10;
/// Rows that are made columns at a time.
const BATCH_ROWS: usize = 8_192;
/// Encoded bytes of a row group in memory.
const ROW_GROUP_BYTES: usize = 64 << 20;

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// One JSON object a line, as `POST /v1/events` takes it
    Ndjson,
    /// A table for spreadsheets, with payloads as JSON text
    Csv,
    /// The table's own columns
    Parquet,
}

impl Format {
    /// By the name of a file.
    pub(crate) fn of(path: &Path) -> Self {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("csv") => Self::Csv,
            Some("parquet") => Self::Parquet,
            _ => Self::Ndjson,
        }
    }

    /// As it is given.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
        }
    }
}

type Out = BufWriter<Box<dyn Write + Send>>;

/// Takes events, each as the server's JSON.
pub(crate) struct Sink {
    writer: Writer,
    file: Option<Unfinished>,
    name: String,
}

enum Writer {
    Lines(Out),
    Csv(Out, Vec<u8>),
    Parquet(Box<ArrowWriter<Out>>, Box<EventColumns>),
}

/// A file on its way, under another name.
struct Unfinished {
    file: File,
    path: PathBuf,
    named: PathBuf,
    is_whole: bool,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.is_whole {
            // What is left of it harms nobody.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Unfinished {
    fn create(named: &Path) -> io::Result<Self> {
        let mut path = named.as_os_str().to_owned();
        path.push(".partial");
        let path = PathBuf::from(path);
        Ok(Self { file: File::create(&path)?, path, named: named.to_owned(), is_whole: false })
    }

    /// Durable, and then under its name.
    fn finish(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, &self.named)?;
        self.is_whole = true;
        let folder = self.named.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Sink {
    /// Makes the file; `-` is standard output.
    pub(crate) fn open(path: &Path, format: Format) -> Result<Self> {
        let name = path.display().to_string();
        let broken = |error: &io::Error| Failure::file(&name, error);
        let (file, out): (_, Box<dyn Write + Send>) = if path.as_os_str() == "-" {
            (None, Box::new(io::stdout()))
        } else {
            let file = Unfinished::create(path).map_err(|error| broken(&error))?;
            let out = file.file.try_clone().map_err(|error| broken(&error))?;
            (Some(file), Box::new(out))
        };
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, out);
        let writer = match format {
            Format::Ndjson => Writer::Lines(out),
            Format::Csv => {
                let header = COLUMNS.join(",") + "\r\n";
                out.write_all(header.as_bytes()).map_err(|error| wrong(&name, &error))?;
                Writer::Csv(out, Vec::new())
            }
            Format::Parquet => {
                let level = ZstdLevel::try_new(1).unwrap_or_default();
                let properties = WriterProperties::builder().set_compression(Compression::ZSTD(level)).build();
                let writer = ArrowWriter::try_new(out, TableKind::Events.schema(), Some(properties));
                Writer::Parquet(
                    Box::new(writer.map_err(|error| strange(&name, &error))?),
                    Box::new(EventColumns::new(BATCH_ROWS)),
                )
            }
        };
        Ok(Self { writer, file, name })
    }

    /// Writes one event.
    pub(crate) fn event(&mut self, json: &str) -> Result<()> {
        let name = &self.name;
        match &mut self.writer {
            Writer::Lines(out) => {
                let written = out.write_all(json.as_bytes()).and_then(|()| out.write_all(b"\n"));
                written.map_err(|error| wrong(name, &error))
            }
            Writer::Csv(out, line) => {
                line.clear();
                write_record(line, &view::read(json)?);
                out.write_all(line).map_err(|error| wrong(name, &error))
            }
            Writer::Parquet(writer, columns) => {
                let event: EventOut = view::read(json)?;
                push(columns, &event);
                if columns.len() < BATCH_ROWS { Ok(()) } else { write_rows(name, writer, columns) }
            }
        }
    }

    /// Everything is in the file, and the file has its name.
    pub(crate) fn finish(self) -> Result<()> {
        let Self { writer, file, name } = self;
        let mut out = match writer {
            Writer::Lines(out) | Writer::Csv(out, _) => out,
            Writer::Parquet(mut writer, mut columns) => {
                write_rows(&name, &mut writer, &mut columns)?;
                writer.into_inner().map_err(|error| strange(&name, &error))?
            }
        };
        out.flush().map_err(|error| wrong(&name, &error))?;
        match file {
            Some(file) => file.finish().map_err(|error| wrong(&name, &error)),
            None => Ok(()),
        }
    }
}

fn wrong(name: &str, error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::OutputClosed,
        _ => Failure::file(name, error),
    }
}

fn strange(name: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::usage(format!("{name}: {error}"))
}

/// One line of CSV, in the order of [`COLUMNS`].
pub(crate) fn write_record(out: &mut Vec<u8>, event: &EventOut) {
    let time = |time: Option<eye_event::Timestamp>| time.map(|time| time.to_string()).unwrap_or_default();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let cells: [String; COLUMNS.len()] = [
        event.event_id.clone(),
        event.application.clone(),
        event.session_id.clone(),
        event.category.clone(),
        event.name.clone(),
        event.timestamp.to_string(),
        text(&event.timestamp_raw),
        time(event.sent_at),
        event.received_at.to_string(),
        text(&event.user_id),
        text(&event.anonymous_id),
        event.data.get().to_owned(),
        event.context.as_ref().map(|context| context.get().to_owned()).unwrap_or_default(),
        event.problems.join(" "),
        event.partition.to_string(),
        event.offset.to_string(),
    ];
    for (index, cell) in cells.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_cell(out, cell);
    }
    out.extend_from_slice(b"\r\n");
}

fn push(columns: &mut EventColumns, event: &EventOut) {
    columns.push(&StoredEvent {
        application: &event.application,
        received_at: event.received_at,
        partition: PartitionId(event.partition),
        offset: Offset(event.offset),
        event: EventRef {
            event_id: &event.event_id,
            session_id: &event.session_id,
            category: &event.category,
            name: &event.name,
            timestamp: event.timestamp,
            timestamp_raw: event.timestamp_raw.as_deref(),
            sent_at: event.sent_at,
            user_id: event.user_id.as_deref(),
            anonymous_id: event.anonymous_id.as_deref(),
            data: event.data.get(),
            context: event.context.as_ref().map(|context| context.get()),
            problems: event.problems.iter().filter_map(|code| Problem::from_code(code)).collect(),
        },
    });
}

fn write_rows(name: &str, writer: &mut ArrowWriter<Out>, columns: &mut EventColumns) -> Result<()> {
    if columns.is_empty() {
        return Ok(());
    }
    let batch = columns.finish().map_err(|error| strange(name, &error))?;
    writer.write(&batch).map_err(|error| strange(name, &error))?;
    if writer.in_progress_size() > ROW_GROUP_BYTES {
        writer.flush().map_err(|error| strange(name, &error))?;
    }
    Ok(())
}
