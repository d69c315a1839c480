//! A TCP stream that gives up on a client that does not take its answer.
//!
//! hyper bounds how long a request's head may take, [`super::body`] bounds its body; nothing bounds a client that
//! stops reading. Here a write that makes no progress for a while ends the connection. What a client of HTTP/2 does not
//! take is not even written: see [`super::answer`].

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use crate::metrics::Metrics;

/// The stream.
pub(crate) struct ClientStream {
    tcp: TcpStream,
    /// How long a write may make no progress.
    idle_max: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
    is_given_up: bool,
    metrics: Metrics,
}

impl ClientStream {
    /// Wraps an accepted stream. A write that makes no progress for `idle_max` fails.
    pub(crate) fn new(tcp: TcpStream, idle_max: Duration, metrics: Metrics) -> Self {
        Self { tcp, idle_max, stalled: None, is_given_up: false, metrics }
    }

    /// What it wraps.
    pub(crate) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Passes a finished write on; lets one that waits wait only so long.
    fn bound<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let idle_max = self.idle_max;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(idle_max)));
        ready!(stalled.as_mut().poll(context));
        if !self.is_given_up {
            self.is_given_up = true;
            self.metrics.answers_stalled.inc();
        }
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not take its answer")))
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(context, buffer)
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tcp).poll_write(context, bytes);
        self.bound(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tcp).poll_write_vectored(context, slices);
        self.bound(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }
}
