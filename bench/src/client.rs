//! A client that asks one question after the other on a connection that stays open.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::Error;
use crate::server::Server;

/// A question as it is sent.
#[derive(Clone)]
pub(crate) enum Request {
    Get(String),
    Post(&'static str, serde_json::Value),
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    /// From sending the first byte to having the last.
    pub(crate) took: Duration,
}

impl Answer {
    /// The body, if all went well.
    pub(crate) fn json(&self) -> Result<serde_json::Value, Error> {
        if self.status == 200 {
            return Ok(serde_json::from_slice(&self.body)?);
        }
        Err(format!("status {}: {}", self.status, String::from_utf8_lossy(&self.body)).into())
    }
}

pub(crate) struct Client {
    stream: BufReader<TcpStream>,
    token: String,
}

impl Client {
    pub(crate) fn new(server: &Server) -> Result<Self, Error> {
        let stream = TcpStream::connect(server.address)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::with_capacity(256 * 1024, stream), token: server.token.clone() })
    }

    pub(crate) fn ask(&mut self, request: &Request) -> Result<Answer, Error> {
        let head = |method: &str, path: &str| {
            format!("{method} {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Token {}\r\n", self.token)
        };
        let text = match request {
            Request::Get(path) => head("GET", path) + "\r\n",
            Request::Post(path, body) => {
                let body = body.to_string();
                let length = body.len();
                head("POST", path)
                    + &format!("Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
            }
        };
        let start = Instant::now();
        self.stream.get_mut().write_all(text.as_bytes())?;
        let (status, length) = self.head()?;
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok(Answer { status, body, took: start.elapsed() })
    }

    /// Status and length of the body.
    fn head(&mut self) -> Result<(u16, usize), Error> {
        let (mut status, mut length, mut line) = (0, None, String::new());
        loop {
            line.clear();
            if self.stream.read_line(&mut line)? == 0 {
                return Err("the server closed the connection".into());
            }
            let text = line.trim_end();
            if text.is_empty() {
                return Ok((status, length.ok_or("an answer without a length")?));
            }
            if let Some(rest) = text.strip_prefix("HTTP/1.1 ") {
                status = rest.get(..3).unwrap_or_default().parse()?;
            } else if let Some((name, value)) = text.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = Some(value.trim().parse()?);
            }
        }
    }
}
