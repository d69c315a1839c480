//! Builds and runs the fuzz targets of `fuzz/` with the stable toolchain.
//!
//! libFuzzer needs no sanitizer: the code is safe Rust, and a panic, a wrong answer, too much memory or ten seconds
//! without an end are what is looked for. Only crates for the target are instrumented, not build scripts.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Instant;

use crate::Error;
use crate::run::{command, root, run as run_command, target};
use crate::skipped;
use crate::tools;

const SECONDS: &str = "60";
/// Of a fuzzer: a third of what others get of a core that they want too, so that ten seconds are long for one input still.
const NICENESS: &str = "5";
/// What cargo-fuzz builds with too, but for its sanitizer.
const RUSTFLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing -Cdebug-assertions";

/// What to do with the targets.
#[derive(Clone, Copy)]
enum Work<'a> {
    /// Run for so many seconds, beginning with the corpus.
    Search(&'a str),
    /// Run the corpus only.
    Replay,
    /// Run, then put what reached anything new into the corpus, and take out of it what reaches nothing of its own.
    Keep(&'a str),
}

/// `[--seconds N] [--replay | --keep] [target…]`.
pub(crate) fn run(arguments: &[&str]) -> Result<(), Error> {
    let (mut seconds, mut names, mut replay, mut keep) = (SECONDS, Vec::new(), false, false);
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match *argument {
            "--seconds" => seconds = arguments.next().ok_or("--seconds needs a number")?,
            "--replay" => replay = true,
            "--keep" => keep = true,
            flag if flag.starts_with('-') => return Err(format!("there is no flag {flag}").into()),
            name => names.push(name.to_owned()),
        }
    }
    let work = match (replay, keep) {
        (true, _) => Work::Replay,
        (_, true) => Work::Keep(seconds),
        _ => Work::Search(seconds),
    };
    if !has_compiler() {
        tools::debian("c++", "g++");
    }
    if !has_compiler() {
        let why = "libFuzzer needs a C++ compiler and there is none (Debian: apt-get install g++)";
        return skipped::skip("fuzz", why);
    }
    let known = targets()?;
    if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
        return Err(format!("there is no target {unknown}: use {}", known.join(", ")).into());
    }
    let names = if names.is_empty() { known } else { names };
    let rig = Rig::build()?;
    rig.run_all(&names, work)
}

/// The targets: the files of `fuzz/fuzz_targets`.
fn targets() -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(root()?.join("fuzz").join("fuzz_targets"))? {
        let path = entry?.path();
        names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

/// True if libFuzzer can be built.
fn has_compiler() -> bool {
    let compilers = std::env::var("CXX").into_iter().chain(["c++", "g++", "clang++"].map(str::to_owned));
    compilers.into_iter().any(|compiler| answers(&compiler))
}

fn answers(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}

/// The built targets and the folders they work in.
struct Rig {
    fuzz: PathBuf,
    /// Where the programs are.
    programs: PathBuf,
    /// What was found so far and is not in the corpus, and the logs; kept between runs.
    scratch: PathBuf,
}

impl Rig {
    /// Where cargo builds, in a folder of its own: another set of flags builds everything anew.
    fn build() -> Result<Self, Error> {
        let fuzz = root()?.join("fuzz");
        let target = target()?.join("fuzz");
        let host = host()?;
        let manifest = fuzz.join("Cargo.toml").to_string_lossy().into_owned();
        run_command(command(env!("CARGO"), &["fmt", "--check", "--manifest-path", &manifest])?)?;
        let arguments = ["build", "--release", "--locked", "--bins", "--manifest-path", &manifest, "--target", &host];
        let mut build = command(env!("CARGO"), &arguments)?;
        build.env("RUSTFLAGS", RUSTFLAGS).env("CARGO_TARGET_DIR", &target);
        run_command(build)?;
        Ok(Self { fuzz, programs: target.join(host).join("release"), scratch: target.join("scratch") })
    }

    /// As many targets at once as there are cores. All of them run, also after one has failed.
    fn run_all(&self, names: &[String], work: Work<'_>) -> Result<(), Error> {
        let queue = Mutex::new(names.iter());
        let failed = Mutex::new(Vec::new());
        let next = || queue.lock().ok().and_then(|mut names| names.next());
        std::thread::scope(|scope| {
            for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
                scope.spawn(|| {
                    while let Some(name) = next() {
                        let start = Instant::now();
                        match self.run_one(name, work) {
                            Ok(done) => println!("{name}: {done}, {:.0} s", start.elapsed().as_secs_f64()),
                            Err(error) => {
                                println!("{name}: FAILED: {error}");
                                if let Ok(mut failed) = failed.lock() {
                                    failed.push(name.as_str());
                                }
                            }
                        }
                    }
                });
            }
        });
        let failed = failed.into_inner().map_err(|_| "a thread panicked")?;
        if failed.is_empty() { Ok(()) } else { Err(format!("found something: {}", failed.join(", ")).into()) }
    }

    fn run_one(&self, name: &str, work: Work<'_>) -> Result<String, Error> {
        let corpus = self.fuzz.join("corpus").join(name);
        let found = self.scratch.join("found").join(name);
        std::fs::create_dir_all(&corpus)?;
        std::fs::create_dir_all(&found)?;
        match work {
            Work::Replay => self.fuzzer(name, &["-runs=0".to_owned()], &[&corpus]),
            Work::Search(seconds) => self.fuzzer(name, &[format!("-max_total_time={seconds}")], &[&found, &corpus]),
            Work::Keep(seconds) => {
                let done = self.fuzzer(name, &[format!("-max_total_time={seconds}")], &[&found, &corpus])?;
                self.keep(name, &corpus, &found)?;
                Ok(done)
            }
        }
    }

    /// Leaves in the corpus the fewest inputs that reach every place that is reached. Inputs with a name of their own,
    /// which show a bug that was mended, stay.
    fn keep(&self, name: &str, corpus: &Path, found: &Path) -> Result<(), Error> {
        let fewest = self.scratch.join("fewest").join(name);
        if fewest.exists() {
            std::fs::remove_dir_all(&fewest)?;
        }
        std::fs::create_dir_all(&fewest)?;
        let merge = ["-set_cover_merge=1".to_owned(), "-use_counters=0".to_owned()];
        self.fuzzer(name, &merge, &[&fewest, corpus, found])?;
        for entry in std::fs::read_dir(corpus)? {
            let path = entry?.path();
            let is_hash = |name: &str| name.len() == 40 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
            if path.file_name().and_then(|name| name.to_str()).is_some_and(is_hash) {
                std::fs::remove_file(path)?;
            }
        }
        for entry in std::fs::read_dir(&fewest)? {
            let entry = entry?;
            std::fs::copy(entry.path(), corpus.join(entry.file_name()))?;
        }
        Ok(())
    }

    /// Runs libFuzzer on these folders; says what it did.
    fn fuzzer(&self, name: &str, arguments: &[String], folders: &[&Path]) -> Result<String, Error> {
        let artifacts = self.fuzz.join("artifacts").join(name);
        std::fs::create_dir_all(&artifacts)?;
        let log_path = self.scratch.join(format!("{name}.log"));
        let log = File::create(&log_path)?;
        let program = self.programs.join(name);
        let mut prefix = OsString::from("-artifact_prefix=");
        prefix.push(artifacts.join(""));
        // It takes what others leave of the processor: see `test`.
        let mut fuzzer = Command::new("nice");
        fuzzer.args(["-n", NICENESS]).arg(&program);
        fuzzer.args(["-timeout=10", "-rss_limit_mb=512", "-len_control=10"]).arg(prefix).args(arguments);
        let dictionary = self.fuzz.join("dictionaries").join(format!("{name}.dict"));
        if dictionary.exists() {
            fuzzer.arg(format!("-dict={}", dictionary.display()));
        }
        fuzzer.args(folders).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let status = fuzzer.status().map_err(|error| format!("{}: {error}", program.display()))?;
        let text = String::from_utf8_lossy(&std::fs::read(&log_path)?).into_owned();
        if status.success() {
            return Ok(summary(&text));
        }
        let panic = text.lines().skip_while(|line| !line.contains("panicked at") && !line.contains("ERROR:"));
        let shown: Vec<&str> = panic.take(6).collect();
        let input = text.lines().find_map(|line| Some(line.split_once("Test unit written to ")?.1));
        let again = input.map_or_else(String::new, |input| format!("\nagain: {} {input}", program.display()));
        Err(format!("{status}, all of it in {}\n{}{again}", log_path.display(), shown.join("\n")).into())
    }
}

/// Of libFuzzer's last line about itself: `#12345 DONE   cov: 10 ft: 20 corp: 3/19b …`.
fn summary(log: &str) -> String {
    let last = log.lines().rev().find(|line| line.starts_with('#') && line.contains(" cov: ")).unwrap_or_default();
    let words: Vec<&str> = last.split_whitespace().collect();
    let after =
        |label: &str| words.iter().position(|word| *word == label).and_then(|at| words.get(at + 1)).unwrap_or(&"?");
    let runs = words.first().map_or("?", |word| word.trim_start_matches('#'));
    format!("{runs} runs, {} edges, {} features", after("cov:"), after("ft:"))
}

/// The triple of this machine.
fn host() -> Result<String, Error> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("-vV").output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.ok_or("rustc does not say what machine this is")?.to_owned())
}
