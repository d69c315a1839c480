//! What every command shares: which server, which token, which data folder, how to print.
//!
//! On the machine the server runs on, nothing has to be said: the data folder tells the address and holds a token.
//! That token never leaves the machine: it is sent to the folder's own server and to loopback addresses only.

use std::fmt;
use std::fs;
use std::path::Path;

use super::client::Client;
use super::failure::{Failure, Result};
use super::output::Output;

const DEFAULT_URL: &str = "http://127.0.0.1:7070";

/// Flags that every command takes, beside `--data` and `--config`, which are settings.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Shared options")]
pub(crate) struct Global {
    /// Where is the server? Default: the address in <data>/address, else http://127.0.0.1:7070
    #[arg(long, global = true, env = "EYE_URL", value_name = "URL")]
    url: Option<String>,
    /// Which token? Default: the one in <data>/cli-token (only for a server on this machine)
    #[arg(long, global = true, env = "EYE_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    token: Option<Secret>,
    /// Print JSON for programs: one document (`tail`: one a line)
    #[arg(long, global = true)]
    json: bool,
    /// Print without colours (NO_COLOR does the same)
    #[arg(long, global = true)]
    no_color: bool,
}

/// A token as typed: never shown again.
#[derive(Clone)]
struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl Global {
    /// How to print.
    pub(crate) fn output(&self) -> Output {
        Output::new(self.json, self.no_color)
    }

    /// A client of the server that these flags or the data folder name.
    pub(crate) fn client(&self, data: &Path) -> Result<Client> {
        let own = first_line(&data.join("address")).map(|address| base_url(&address));
        let base = match &self.url {
            Some(url) => base_url(url),
            None => own.clone().unwrap_or_else(|| DEFAULT_URL.to_owned()),
        };
        if !(base.starts_with("http://") || base.starts_with("https://")) {
            return Err(Failure::usage(format!("--url {base} is no address: write http://host:port or https://host")));
        }
        let token = match &self.token {
            Some(Secret(token)) => Some(token.trim().to_owned()).filter(|token| !token.is_empty()),
            None if is_loopback(&base) || Some(&base) == own.as_ref() => first_line(&data.join("cli-token")),
            None => None,
        };
        Client::new(base, token)
    }
}

/// The first line of a small file, if there is one with something on it.
fn first_line(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().next().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty())
}

/// An address as people write it, as a URL without a slash at its end. "Every interface" means this machine.
fn base_url(address: &str) -> String {
    let address = address.trim().trim_end_matches('/');
    let url = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    url.replacen("://0.0.0.0", "://127.0.0.1", 1).replacen("://[::]", "://[::1]", 1)
}

/// True if the URL's host is this machine. Read by the parser that the client connects with, so that both see one host.
pub(crate) fn is_loopback(base: &str) -> bool {
    let Ok(uri) = base.parse::<ureq::http::Uri>() else {
        return false;
    };
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn global(url: Option<&str>) -> Global {
        Global { url: url.map(str::to_owned), token: None, json: false, no_color: true }
    }

    #[test]
    fn the_folders_token_stays_on_this_machine() {
        let data = tempfile::tempdir().unwrap();
        fs::write(data.path().join("cli-token"), "eye_sk_local\n").unwrap();
        fs::write(data.path().join("address"), "0.0.0.0:7171\n").unwrap();
        let client = |url| global(url).client(data.path()).unwrap();
        assert_eq!((client(None).base(), client(None).has_token()), ("http://127.0.0.1:7171", true));
        assert!(client(Some("http://localhost:9")).has_token());
        for stranger in ["https://eye.example.com", "http://127.0.0.1.example.com", "http://localhost:1@evil.example"] {
            assert!(!client(Some(stranger)).has_token(), "{stranger}");
        }
    }

    #[test]
    fn addresses_are_read_as_people_write_them() {
        for (written, read) in [
            ("127.0.0.1:7070", "http://127.0.0.1:7070"),
            (" https://eye.example.com/ ", "https://eye.example.com"),
            ("[::]:7070", "http://[::1]:7070"),
        ] {
            assert_eq!(base_url(written), read);
        }
        assert!(is_loopback("http://[::1]:7070"));
        assert!(!is_loopback("http://[2001:db8::1]:7070"));
    }
}
