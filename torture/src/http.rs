//! A plain HTTP/1.1 client on one connection. As plain as can be on purpose: it never sends anything twice by itself, so
//! that whoever uses it knows what was sent.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Nothing here takes so long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client of one server with one token.
pub struct Client {
    address: SocketAddr,
    token: String,
    stream: Option<BufReader<TcpStream>>,
}

/// An answer, whole.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text, for messages.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Client {
    /// A client; it connects when it sends.
    #[must_use]
    pub fn new(address: SocketAddr, token: &str) -> Self {
        Self { address, token: token.to_owned(), stream: None }
    }

    /// One `GET`.
    ///
    /// # Errors
    /// No whole answer came.
    pub fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.send("GET", path, "", b"")
    }

    /// One `POST`.
    ///
    /// # Errors
    /// No whole answer came: whether the server took it is unknown.
    pub fn post(&mut self, path: &str, content_type: &str, body: &[u8]) -> io::Result<Answer> {
        self.send("POST", path, content_type, body)
    }

    fn send(&mut self, method: &str, path: &str, content_type: &str, body: &[u8]) -> io::Result<Answer> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => BufReader::new(connect(self.address)?),
        };
        let mut request =
            format!("{method} {path} HTTP/1.1\r\nHost: eye\r\nAuthorization: Token {}\r\n", self.token).into_bytes();
        if method == "POST" {
            let length = body.len();
            write!(request, "Content-Type: {content_type}\r\nContent-Length: {length}\r\n")?;
        }
        request.extend_from_slice(b"\r\n");
        request.extend_from_slice(body);
        // A server that refuses early may close before all is sent: its answer counts.
        let sent = stream.get_mut().write_all(&request);
        let (answer, goes_on) = read_answer(&mut stream).map_err(|error| sent.err().unwrap_or(error))?;
        if goes_on {
            self.stream = Some(stream);
        }
        Ok(answer)
    }
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Reads one answer; and whether the connection goes on after it.
fn read_answer(reader: &mut impl BufRead) -> io::Result<(Answer, bool)> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(cut_off)?;
    let (mut length, mut is_chunked, mut goes_on) = (None, false, true);
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err(cut_off());
        }
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse::<usize>().ok(),
            "transfer-encoding" => is_chunked = true,
            "connection" => goes_on = !value.trim().eq_ignore_ascii_case("close"),
            _ => {}
        }
    }
    let mut body = Vec::new();
    if is_chunked {
        read_chunks(reader, &mut body)?;
    } else {
        body.resize(length.ok_or_else(cut_off)?, 0);
        reader.read_exact(&mut body)?;
    }
    Ok((Answer { status, body }, goes_on))
}

fn read_chunks(reader: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let length = usize::from_str_radix(line.trim(), 16).map_err(|_| cut_off())?;
        let start = body.len();
        body.resize(start + length, 0);
        reader.read_exact(&mut body[start..])?;
        reader.read_exact(&mut [0; 2])?;
        if length == 0 {
            return Ok(());
        }
    }
}

fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "no whole answer came")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_whole_or_not_at_all() {
        let read =
            |text: &str| read_answer(&mut text.as_bytes()).map(|(answer, on)| (answer.status, answer.text(), on));
        let plain = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        assert_eq!(read(plain).ok(), Some((200, "ok".to_owned(), true)));
        let chunked = "HTTP/1.1 503 X\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n2\r\nno\r\n0\r\n\r\n";
        assert_eq!(read(chunked).ok(), Some((503, "no".to_owned(), false)));
        for cut in 0..plain.len() {
            assert!(read(&plain[..cut]).is_err(), "{cut}");
        }
    }
}
