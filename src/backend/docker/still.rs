//! A container that is made of an image and never started: to look into the image.

use std::borrow::Borrow;

use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::CreateContainerOptions;

use super::engine::{Connected, reason};
use super::launch::remove;
use super::{Error, LABEL};

/// It is removed when this is dropped.
pub(super) struct Still<E: Borrow<Connected>> {
    engine: E,
    pub id: String,
}

impl<E: Borrow<Connected>> Still<E> {
    pub fn make(engine: E, digest: &str) -> Result<Self, Error> {
        let body = ContainerCreateBody {
            image: Some(digest.to_owned()),
            // An image without a command has to be given one.
            entrypoint: Some(vec!["/".to_owned()]),
            network_disabled: Some(true),
            labels: Some([(LABEL.to_owned(), String::new())].into()),
            host_config: Some(HostConfig { network_mode: Some("none".into()), ..HostConfig::default() }),
            ..ContainerCreateBody::default()
        };
        let connected = engine.borrow();
        let made = connected.wait(connected.docker.create_container(None::<CreateContainerOptions>, body));
        match made {
            Ok(made) => Ok(Still { engine, id: made.id }),
            Err(error) => Err(Error::Failed { what: "look into an image", said: reason(&error) }),
        }
    }

    pub fn engine(&self) -> &Connected {
        self.engine.borrow()
    }
}

impl<E: Borrow<Connected>> Drop for Still<E> {
    fn drop(&mut self) {
        remove(self.engine.borrow(), &self.id);
    }
}
