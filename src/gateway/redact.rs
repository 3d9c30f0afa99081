//! Answers without the secrets that they may echo.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use zeroize::Zeroizing;

use super::secrets::Secret;
use super::serve::BUFFER;

/// Takes values out of a stream that may echo them.
pub struct Redactor {
    echoes: Vec<(Zeroizing<Vec<u8>>, Vec<u8>)>,
    /// What may be the beginning of one.
    held: Vec<u8>,
}

impl Redactor {
    pub fn of<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        Redactor { echoes: secrets.into_iter().map(Secret::echo).collect(), held: Vec::new() }
    }

    /// Returns as much as is known to hold no value; the rest comes with the next piece, or at the end.
    pub fn push(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.held);
        bytes.extend_from_slice(piece);
        for (value, instead) in &self.echoes {
            let mut from = 0;
            while let Some(at) = find(bytes.get(from..).unwrap_or_default(), value) {
                let end = from + at + value.len();
                if let Some(there) = bytes.get_mut(from + at..end) {
                    there.copy_from_slice(instead);
                }
                from = end;
            }
        }
        let begins = |at: &usize| {
            let tail = bytes.get(*at..).unwrap_or_default();
            self.echoes.iter().any(|(value, _)| value.len() > tail.len() && value.starts_with(tail))
        };
        let longest = self.echoes.iter().map(|(value, _)| value.len()).max().unwrap_or(0);
        let first = bytes.len().saturating_sub(longest.saturating_sub(1));
        let keep = (first..bytes.len()).find(begins).unwrap_or(bytes.len());
        self.held = bytes.split_off(keep);
        bytes
    }

    /// Returns what was held back.
    pub fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }

    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Takes values out of a whole text.
    pub fn whole(&mut self, text: &[u8]) -> Vec<u8> {
        let mut out = self.push(text);
        out.extend(self.rest());
        out
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let first = wanted.first()?;
    let mut from = 0;
    loop {
        from += bytes.get(from..)?.iter().position(|byte| byte == first)?;
        if bytes.get(from..)?.starts_with(wanted) {
            return Some(from);
        }
        from += 1;
    }
}

/// Moves what is no HTTP any more, both ways.
pub async fn carry(client: OnUpgrade, server: OnUpgrade, redactor: Option<Redactor>) {
    let (Ok(client), Ok(server)) = tokio::join!(client, server) else { return };
    let (mut from_client, mut to_client) = tokio::io::split(TokioIo::new(client));
    let (mut from_server, mut to_server) = tokio::io::split(TokioIo::new(server));
    let up = async {
        let _broken = tokio::io::copy(&mut from_client, &mut to_server).await;
        let _gone = to_server.shutdown().await;
    };
    let down = async {
        let mut redactor = redactor;
        let mut buffer = vec![0; BUFFER];
        while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
            let piece = buffer.get(..length).unwrap_or_default();
            let sent = match &mut redactor {
                Some(redactor) => to_client.write_all(&redactor.push(piece)).await,
                None => to_client.write_all(piece).await,
            };
            if sent.is_err() {
                break;
            }
        }
        let rest = redactor.map(|mut redactor| redactor.rest()).unwrap_or_default();
        let _gone = to_client.write_all(&rest).await;
        let _gone = to_client.shutdown().await;
    };
    tokio::join!(up, down);
}

/// The body of an answer without the values that it may echo.
pub struct Redacted {
    body: Incoming,
    redactor: Redactor,
    /// What comes behind what was held back.
    last: Option<Frame<Bytes>>,
}

impl Redacted {
    pub fn new(body: Incoming, redactor: Redactor) -> Self {
        Redacted { body, redactor, last: None }
    }
}

impl Body for Redacted {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Some(frame) = self.last.take() {
            return Poll::Ready(Some(Ok(frame)));
        }
        loop {
            let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
            match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        let clean = self.redactor.push(&data);
                        if !clean.is_empty() {
                            return Poll::Ready(Some(Ok(Frame::data(clean.into()))));
                        }
                    }
                    Err(trailers) => {
                        let rest = self.redactor.rest();
                        if rest.is_empty() {
                            return Poll::Ready(Some(Ok(trailers)));
                        }
                        self.last = Some(trailers);
                        return Poll::Ready(Some(Ok(Frame::data(rest.into()))));
                    }
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    let rest = self.redactor.rest();
                    let frame = (!rest.is_empty()).then(|| Ok(Frame::data(rest.into())));
                    return Poll::Ready(frame);
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.last.is_none() && self.redactor.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // What was held back comes, too; to the end it is as much as came in.
        if self.redactor.is_empty() && self.last.is_none() {
            self.body.size_hint()
        } else {
            SizeHint::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::secrets::Use;
    use crate::policy::host::HostName;

    const VALUE: &str = "sk-ant-api03-AbCdEf0123456789_x-Y.z";

    proptest::proptest! {
        #[test]
        fn no_echo_passes_however_it_is_cut(cuts in proptest::collection::vec(0usize..200, 0..8), gap in "[a-zA-Z0-9-]{0,30}") {
            let host = HostName::parse("api.example").unwrap();
            let what = Use { name: "KEY".into(), host, header: None, format: "{}".into(), methods: Vec::new() };
            let secret = Secret::new(what, Zeroizing::new(VALUE.to_owned())).unwrap();
            let text = format!("{gap}{VALUE}{gap}sk-ant-api03-Ab{VALUE}sk-ant");
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut < text.len()).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let mut redactor = Redactor::of([&secret]);
            let mut out = Vec::new();
            for pair in cuts.windows(2) {
                out.extend(redactor.push(&text.as_bytes()[pair[0]..pair[1]]));
            }
            out.extend(redactor.rest());
            let out = String::from_utf8(out).unwrap();
            proptest::prop_assert_eq!(&out, &text.replace(VALUE, &secret.placeholder));
        }
    }
}
