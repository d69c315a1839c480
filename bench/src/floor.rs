//! The floors: what the machine could do if collecting cost nothing.

use std::borrow::Cow;
use std::time::Instant;

use axum::body::Bytes;
use axum::routing::post;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::Error;

/// A bare axum handler that reads the body and answers. Prints its address and serves until it is killed.
pub(crate) fn serve() -> Result<(), Error> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        let answer = |body: Bytes| async move { format!(r#"{{"bytes":{}}}"#, body.len()) };
        let limit = axum::extract::DefaultBodyLimit::max(64 * 1024 * 1024);
        let router = axum::Router::new().route("/v1/events", post(answer)).layer(limit);
        axum::serve(tcp_nodelay(listener), router).await?;
        Ok(())
    })
}

fn tcp_nodelay(listener: tokio::net::TcpListener) -> impl axum::serve::Listener<Addr = std::net::SocketAddr> {
    use axum::serve::ListenerExt;
    listener.tap_io(|stream| drop(stream.set_nodelay(true)))
}

/// An event as it is sent, typed and borrowed.
#[derive(Deserialize)]
pub(crate) struct Event<'a> {
    #[serde(borrow)]
    pub(crate) event_id: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) session_id: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) category: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) name: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) timestamp: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) data: &'a RawValue,
}

/// The JSON parser alone, one core: events a second of typed, borrowed parsing of the same lines.
pub(crate) fn parse(bodies: &[String]) -> Result<f64, Error> {
    let start = Instant::now();
    let (mut events, mut bytes) = (0_u64, 0_usize);
    for line in bodies.iter().flat_map(|body| body.lines()) {
        let event: Event<'_> = serde_json::from_str(line)?;
        events += 1;
        bytes += event.event_id.len() + event.session_id.len() + event.category.len() + event.name.len();
        bytes += event.timestamp.len() + event.data.get().len();
    }
    if std::hint::black_box(bytes) == 0 {
        return Err("nothing was parsed".into());
    }
    Ok(events as f64 / start.elapsed().as_secs_f64())
}
