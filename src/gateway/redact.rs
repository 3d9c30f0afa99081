//! Answers without the secrets that they may echo.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use zeroize::Zeroizing;

use super::echo::Echo;
use super::frames::Frames;
use super::secrets::Secret;
use super::serve::BUFFER;

/// Takes values out of a stream that may echo them.
///
/// What is held back, and so where a stream is cut, depends on what everybody inside knows of the value: its known
/// beginning, its length and its kinds of letters, as the placeholder shows them; of a value that is not imitated, its length
/// and which of its signs are letters. Otherwise somebody could ask for the value letter by letter.
pub struct Redactor {
    echoes: Vec<Echo>,
    /// What may be the beginning of one.
    held: Vec<u8>,
}

impl Redactor {
    pub fn of<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        Redactor { echoes: secrets.into_iter().flat_map(Echo::all).collect(), held: Vec::new() }
    }

    /// Takes out one more value.
    pub fn add(&mut self, value: Zeroizing<Vec<u8>>) {
        self.echoes.push(Echo::of_unknown(value));
    }

    /// There is nothing to take out.
    pub fn is_idle(&self) -> bool {
        self.echoes.is_empty()
    }

    /// Returns as much as is known to hold no value; the rest comes with the next piece, or at the end.
    pub fn push(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.held);
        bytes.extend_from_slice(piece);
        // First, so that no value that is whole is cut. What stands for it is of the same kinds of letters.
        self.take_out(&mut bytes, false);
        let longest = self.echoes.iter().map(|echo| echo.value.len()).max().unwrap_or(0);
        let first = bytes.len().saturating_sub(longest.saturating_sub(1));
        let begins = |at: &usize| {
            let tail = bytes.get(*at..).unwrap_or_default();
            self.echoes.iter().any(|echo| echo.may_begin(tail))
        };
        let keep = (first..bytes.len()).find(begins).unwrap_or(bytes.len());
        self.held = bytes.split_off(keep);
        bytes
    }

    /// Returns what was held back.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut held = std::mem::take(&mut self.held);
        self.take_out(&mut held, true);
        held
    }

    /// Takes out values, from the first on. What may become a value with what follows is left, and all behind it: it is
    /// held back, and to take out a part of it would hide the rest from the next look.
    fn take_out(&self, bytes: &mut [u8], is_last: bool) {
        for at in 0..bytes.len() {
            let rest = bytes.get(at..).unwrap_or_default();
            let goes_on = |echo: &Echo| echo.value.len() > rest.len() && echo.value.starts_with(rest);
            if !is_last && self.echoes.iter().any(goes_on) {
                return;
            }
            let found = self.echoes.iter().filter(|echo| rest.starts_with(&echo.value));
            if let Some(echo) = found.max_by_key(|echo| echo.value.len())
                && let Some(there) = bytes.get_mut(at..at + echo.value.len())
            {
                there.copy_from_slice(&echo.instead);
            }
        }
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

    /// Takes values out of header fields, and the fields whose names hold one.
    pub fn headers(&mut self, headers: &mut HeaderMap) {
        let lower = |bytes: &[u8]| bytes.to_ascii_lowercase();
        let names: Vec<HeaderName> = headers.keys().cloned().collect();
        for name in names {
            let leaks = |echo: &Echo| {
                let value = Zeroizing::new(lower(&echo.value));
                name.as_str().as_bytes().windows(value.len().max(1)).any(|part| part == value.as_slice())
            };
            if self.echoes.iter().any(leaks) {
                headers.remove(&name);
            }
        }
        for value in headers.values_mut() {
            let clean = self.whole(value.as_bytes());
            if clean != value.as_bytes() {
                // Of the same length, and of the bytes that headers have.
                *value = HeaderValue::from_bytes(&clean).unwrap_or_else(|_| HeaderValue::from_static(""));
            }
        }
    }
}

/// Moves a WebSocket both ways.
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
        let mut frames = Frames::default();
        let mut buffer = vec![0; BUFFER];
        while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
            let piece = buffer.get(..length).unwrap_or_default();
            let sent = match &mut redactor {
                Some(redactor) => to_client.write_all(&messages(piece, &mut frames, redactor)).await,
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

/// Takes values out of messages. Nothing is held back behind the end of one: whoever has sent it may wait for an answer.
fn messages(mut piece: &[u8], frames: &mut Frames, redactor: &mut Redactor) -> Vec<u8> {
    let mut out = Vec::with_capacity(piece.len());
    while !piece.is_empty() {
        let (length, ended) = frames.read(piece);
        let (here, behind) = piece.split_at_checked(length).unwrap_or((piece, &[]));
        out.extend(redactor.push(here));
        if ended {
            out.extend(redactor.rest());
        }
        piece = behind;
    }
    out
}

/// The body of an answer without the values that it may echo.
pub struct Redacted {
    body: Incoming,
    redactor: Redactor,
    /// One that holds nothing back of the body.
    trailers: Redactor,
    /// What comes behind what was held back.
    last: Option<Frame<Bytes>>,
}

impl Redacted {
    pub fn new(body: Incoming, redactor: Redactor, trailers: Redactor) -> Self {
        Redacted { body, redactor, trailers, last: None }
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
                    Err(mut trailers) => {
                        if let Some(headers) = trailers.trailers_mut() {
                            self.trailers.headers(headers);
                        }
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

    fn secret() -> Secret {
        secret_of(VALUE)
    }

    fn secret_of(value: &str) -> Secret {
        let host = HostName::parse("api.example").unwrap();
        let what = Use {
            name: "KEY".into(),
            host,
            port: 443,
            header: None,
            format: "{}".into(),
            methods: Vec::new(),
        };
        Secret::new(what, value).unwrap()
    }

    #[test]
    fn where_a_stream_is_cut_tells_nothing_of_the_value() {
        let secret = secret();
        let cut = |text: &str| {
            let mut redactor = Redactor::of([&secret]);
            (redactor.push(text.as_bytes()).len(), redactor.rest().len())
        };
        // A right guess and a wrong one of the same kinds.
        for length in 14..VALUE.len() {
            let (right, like) = (&VALUE[..length], &secret.placeholder[..length]);
            assert_eq!(cut(&format!("#{right}")), cut(&format!("#{like}")), "{length}");
        }
    }

    #[test]
    fn headers_have_no_value_and_names_are_none() {
        let secret = secret();
        let mut redactor = Redactor::of([&secret]);
        let mut headers = HeaderMap::new();
        let name = HeaderName::try_from(VALUE.to_ascii_lowercase()).unwrap();
        headers.insert(name, HeaderValue::from_static("yes"));
        headers.insert("x", HeaderValue::from_static(VALUE));
        redactor.headers(&mut headers);
        assert_eq!(headers["x"], secret.placeholder);
        assert_eq!(headers.len(), 1, "a name tells as much as a value");
    }

    #[test]
    fn a_part_that_is_like_the_beginning_hides_no_value() {
        let value = "aaaaaaaaaaaaaaaabcdefghijklmnopqrstuvwxyz";
        let (whole, part) = (secret_of(value), secret_of(&VALUE[..30]));
        for (secrets, value) in [(vec![&whole], value), (vec![&part, &secret()], VALUE)] {
            for cut in 0..value.len() {
                let mut redactor = Redactor::of(secrets.iter().copied());
                let mut out = redactor.push(&value.as_bytes()[..cut]);
                out.extend(redactor.push(&value.as_bytes()[cut..]));
                out.extend(redactor.rest());
                let out = String::from_utf8(out).unwrap();
                assert!(!out.contains(&value[value.len() - 5..]), "{cut}: {out}");
            }
        }
    }

    #[test]
    fn what_stands_for_a_short_value_makes_no_value() {
        for (value, text) in [("p", "ppp"), ("pie", "pie"), ("ip", "ipip"), ("*", "***"), ("a*", "aa**")] {
            let out = Redactor::of([&secret_of(value)]).whole(text.as_bytes());
            assert_eq!(out.len(), text.len());
            assert!(!String::from_utf8(out).unwrap().contains(value), "{value}");
        }
        let value = "-------------------------";
        assert!(!Redactor::of([&secret_of(value)]).whole(value.as_bytes()).ends_with(value.as_bytes()));
    }

    /// Values of which every part looks like a beginning of them, and others.
    const VALUES: [&str; 5] = [
        VALUE,
        "abcdefghijklmnopqrstuvwxyzabcdefghijklmn",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab",
        "0123456789012345678901234567890123456789",
        "short",
    ];

    proptest::proptest! {
        #[test]
        fn no_value_passes_however_it_is_cut(
            which in 0_usize..5,
            cuts in proptest::collection::vec(0_usize..200, 0..8),
            gap in "[a-zA-Z0-9-]{0,30}",
            again in 0_usize..4,
        ) {
            let value = VALUES[which];
            let secret = secret_of(value);
            let text = format!("{gap}{}{gap}{value}", value.repeat(again));
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
            proptest::prop_assert_eq!(out.len(), text.len());
            proptest::prop_assert!(!out.contains(value), "{}", out);
            if value == VALUE {
                proptest::prop_assert_eq!(&out, &text.replace(value, &secret.placeholder));
            }
        }
    }
}
