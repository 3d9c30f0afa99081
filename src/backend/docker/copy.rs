//! Files out of an image.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};

use bollard::query_parameters::DownloadFromContainerOptionsBuilder;
use futures_util::StreamExt as _;

use super::Error;
use super::engine::{Connected, reason};
use super::still::Still;

/// Returns an archive of a directory of an image, in a file without a name; `None` where there is no such directory.
///
/// It is read out of a container that is made, never started, and removed.
pub fn archive(engine: &Connected, digest: &str, directory: &str) -> Result<Option<File>, Error> {
    const WHAT: &str = "copy files out of an image";
    let failed = |said: String| Error::Failed { what: WHAT, said };
    let still = Still::make(engine, digest)?;
    let read = || {
        let mut file = tempfile::tempfile().map_err(|error| failed(error.to_string()))?;
        let options = DownloadFromContainerOptionsBuilder::default().path(directory).build();
        engine
            .wait(async {
                let mut stream = engine.docker.download_from_container(&still.id, Some(options));
                while let Some(part) = stream.next().await {
                    match part {
                        Ok(part) => file.write_all(&part).map_err(|error| failed(error.to_string()))?,
                        Err(bollard::errors::Error::DockerResponseServerError {
                            status_code: 404, ..
                        }) => {
                            return Ok(None);
                        }
                        Err(error) => return Err(failed(reason(&error))),
                    }
                }
                file.seek(SeekFrom::Start(0)).map_err(|error| failed(error.to_string()))?;
                Ok(Some(()))
            })
            .map(|found| found.map(|()| file))
    };
    read()
}
