//! The bytes of connections that are allowed.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::connect::{Made, Refused};
use super::copy::{Counts, Way, copy};
use super::http::{Body, Chunks, Request};
use super::meter::{Metered, Moved};
use super::redact::Redactor;
use super::serve::{BUFFER, IDLE, Shared};
use super::upstream::Login;
use crate::audit::Connection;

/// Returns once nothing has moved for a long time.
pub async fn idle(moved: &Moved, within: Option<Duration>) {
    let now = || (moved.up.load(Ordering::Relaxed), moved.down.load(Ordering::Relaxed));
    let mut last = now();
    loop {
        tokio::time::sleep(within.unwrap_or(IDLE)).await;
        if std::mem::replace(&mut last, now()) == now() {
            return;
        }
    }
}

/// Says how an allowed connection broke.
fn broken(made: &Made) -> impl Fn(io::Error) -> Refused + use<> {
    let Made { name, rule, address, .. } = made;
    let (name, rule, address) = (name.clone(), rule.clone(), *address);
    move |error| Refused {
        rule: Some(rule.clone()),
        ..Refused::because(name.as_ref(), format!("the connection to {address} broke: {error}"))
    }
}

/// Moves bytes both ways until both sides are done.
pub async fn relay(
    stream: &mut TcpStream,
    made: Made,
    first: &[u8],
    shared: &Shared,
    moved: &Arc<Moved>,
    record: &mut Connection,
) -> Result<(), Refused> {
    record.allowed = true;
    let _opened = shared.records.opened(record);
    let broken = broken(&made);
    let Made { mut upstream, charge, .. } = made;
    let _plain = stream.set_nodelay(true);
    let counts = Counts { charge: &charge, moved, kept: &shared.kept };
    let (mut from, mut to) = stream.split();
    let (mut answers, mut asks) = upstream.split();
    let up = async {
        Metered::new(&mut asks, moved, &charge).write_all(first).await?;
        copy(&mut from, &mut asks, Way::Up, counts).await
    };
    let both = async { tokio::try_join!(up, copy(&mut answers, &mut to, Way::Down, counts)) };
    tokio::select! {
        done = both => done.map(drop).map_err(broken),
        () = idle(moved, charge.idle()) => Err(broken(io::ErrorKind::TimedOut.into())),
    }
}

/// Passes one request on, and everything of its answer back.
pub async fn exchange(
    stream: &mut TcpStream,
    made: Made,
    request: Request,
    rest: Vec<u8>,
    shared: &Shared,
    moved: &Arc<Moved>,
    record: &mut Connection,
) -> Result<(), Refused> {
    record.allowed = true;
    let _opened = shared.records.opened(record);
    let broken = broken(&made);
    let (mut from, mut to) = stream.split();
    let Made { mut upstream, charge, .. } = made;
    let login = shared.upstream.as_ref().and_then(|proxy| proxy.login.as_ref());
    // To another port there is a tunnel.
    let head = match &shared.upstream {
        Some(_) if request.port == 80 => request.for_proxy(login),
        _ => request.head,
    };
    let mut redactor = Redactor::of(&shared.secrets);
    for value in login.into_iter().flat_map(Login::told) {
        redactor.add(value);
    }
    let counts = Counts { charge: &charge, moved, kept: &shared.kept };
    let (mut answers, asks) = upstream.split();
    let mut asks = Metered::new(asks, moved, &charge);
    let up = async {
        asks.write_all(&head).await?;
        body(&mut from, &mut asks, request.body, rest).await
    };
    let down = async {
        if redactor.is_idle() {
            return copy(&mut answers, &mut to, Way::Down, counts).await;
        }
        let mut answers = Metered::new(&mut answers, moved, &charge);
        let mut piece = Vec::with_capacity(BUFFER);
        while answers.read_buf(&mut piece).await? > 0 {
            to.write_all(&redactor.push(&piece)).await?;
            piece.clear();
        }
        to.write_all(&redactor.rest()).await?;
        to.shutdown().await
    };
    tokio::pin!(up, down);
    let mut sent = false;
    // The answer may come, and end, before the request has ended.
    let done = loop {
        tokio::select! {
            result = &mut up, if !sent => match result {
                Ok(()) => sent = true,
                Err(error) => break Err(error),
            },
            result = &mut down => break result,
            () = idle(moved, charge.idle()) => break Err(io::ErrorKind::TimedOut.into()),
        }
    };
    done.map_err(broken)
}

/// Passes on the body of one request, and not a byte behind it. A server that takes no more of it may still answer.
async fn body(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    kind: Body,
    mut bytes: Vec<u8>,
) -> io::Result<()> {
    let (mut left, mut chunks) = match kind {
        Body::Length(length) => (length, None),
        Body::Chunked => (0, Some(Chunks::default())),
    };
    loop {
        let here = match &mut chunks {
            Some(chunks) => chunks.read(&bytes).map_err(io::Error::other)?,
            None => usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len()),
        };
        match to.write_all(bytes.get(..here).unwrap_or_default()).await {
            Err(error) if error.kind() == io::ErrorKind::QuotaExceeded => return Err(error),
            Err(_) => return Ok(()),
            Ok(()) => {}
        }
        left = left.saturating_sub(here as u64);
        if chunks.map_or(left == 0, |chunks| chunks == Chunks::End) {
            return Ok(());
        }
        bytes.clear();
        bytes.reserve(BUFFER);
        if timeout(IDLE, from.read_buf(&mut bytes)).await.map_err(io::Error::other)?? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
