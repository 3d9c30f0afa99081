//! How an image comes from its registry.

use std::collections::BTreeMap;
use std::time::Duration;

use bollard::auth::DockerCredentials;
use bollard::models::CreateImageInfo;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::StreamExt as _;

use super::Error;
use super::engine::{Connected, reason};
use crate::lock::image;
use crate::util::text::escape;

/// How often somebody is told, even where nothing comes.
const TICK: Duration = Duration::from_secs(1);

/// The tag of a reference without one. To name none is to ask for all of them.
const USUAL_TAG: &str = "latest";

/// How the digest is told at the end.
const DIGEST: &str = "Digest: ";

/// How far an image has come: layers, and bytes of those that are announced so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub layers: usize,
    /// Layers that are here and unpacked.
    pub done: usize,
    pub bytes: u64,
    pub of: u64,
}

/// What the engine has said of each layer.
#[derive(Default)]
struct Layers(BTreeMap<String, Layer>);

#[derive(Default)]
struct Layer {
    bytes: u64,
    of: u64,
    is_done: bool,
}

impl Layers {
    fn hear(&mut self, id: String, status: &str, current: u64, total: u64) {
        match status {
            "Pulling fs layer" | "Waiting" => {
                self.0.entry(id).or_default();
            }
            "Downloading" => {
                let layer = self.0.entry(id).or_default();
                (layer.bytes, layer.of) = (current, total);
            }
            "Download complete" | "Verifying Checksum" | "Extracting" => {
                let layer = self.0.entry(id).or_default();
                layer.bytes = layer.of;
            }
            "Pull complete" | "Already exists" => {
                let layer = self.0.entry(id).or_default();
                (layer.bytes, layer.is_done) = (layer.of, true);
            }
            _ => {}
        }
    }

    fn progress(&self) -> Progress {
        let all = || self.0.values();
        Progress {
            layers: self.0.len(),
            done: all().filter(|layer| layer.is_done).count(),
            bytes: all().map(|layer| layer.bytes).sum(),
            of: all().map(|layer| layer.of).sum(),
        }
    }
}

/// Fetches an image, and returns the digest that its registry has it by, where the engine tells.
pub fn pull(
    engine: &Connected,
    address: &str,
    login: Option<DockerCredentials>,
    show: &mut dyn FnMut(Progress),
) -> Result<Option<String>, Error> {
    let failed = |said: String| Error::Image { reference: address.to_owned(), said };
    let options = CreateImageOptionsBuilder::default().from_image(address);
    let whole = image::own_digest(address).is_some() || image::repository(address) != address;
    let options = if whole { options } else { options.tag(USUAL_TAG) }.build();
    let mut layers = Layers::default();
    let mut digest = None;
    engine.wait(async {
        let mut stream = engine.docker.create_image(Some(options), None, login);
        loop {
            let said = match tokio::time::timeout(TICK, stream.next()).await {
                Err(_) => None,
                Ok(None) => return Ok(()),
                Ok(Some(said)) => Some(said.map_err(|error| failed(reason(&error)))?),
            };
            if let Some(CreateImageInfo { id, error_detail, status, progress_detail, .. }) = said {
                if let Some(error) = error_detail.and_then(|error| error.message) {
                    return Err(failed(escape(&error)));
                }
                let status = status.unwrap_or_default();
                if let Some(found) = status.strip_prefix(DIGEST).filter(|found| image::is_digest(found)) {
                    digest = Some(found.to_owned());
                }
                let detail = progress_detail.unwrap_or_default();
                let number = |count: Option<i64>| count.and_then(|count| u64::try_from(count).ok());
                let (current, total) = (number(detail.current), number(detail.total));
                if let Some(id) = id {
                    layers.hear(id, &status, current.unwrap_or(0), total.unwrap_or(0));
                }
            }
            show(layers.progress());
        }
    })?;
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_progress_is_that_of_all_layers() {
        let mut layers = Layers::default();
        for (id, status, current, total) in [
            ("12", "Pulling from x", 0, 0),
            ("a", "Pulling fs layer", 0, 0),
            ("b", "Already exists", 0, 0),
            ("c", "Downloading", 5, 50),
            ("a", "Downloading", 10, 100),
            ("c", "Extracting", 1, 50),
        ] {
            layers.hear(id.to_owned(), status, current, total);
        }
        assert_eq!(layers.progress(), Progress { layers: 3, done: 1, bytes: 60, of: 150 });
    }
}
