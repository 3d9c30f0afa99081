//! The certificate authority of one session: made in memory, believed only inside, and forgotten with the session.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use thiserror::Error;

use crate::policy::host::HostName;

/// How long the certificates are good for, in days: longer than sessions are.
const DAYS: i64 = 30;

/// The most certificates of hosts that are kept.
const MOST: usize = 256;

/// Why there is no authority, or no certificate of a host.
#[derive(Debug, Error)]
pub enum Error {
    #[error("a certificate cannot be made: {0}")]
    Make(#[from] rcgen::Error),
    #[error("a certificate cannot be used: {0}")]
    Use(#[from] rustls::Error),
}

/// Signs a certificate for whichever host is asked for.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Of the authority itself, as PEM.
    pem: String,
    /// Of every host.
    key: KeyPair,
    configs: Mutex<HashMap<HostName, Arc<ServerConfig>>>,
}

impl Authority {
    pub fn new(session: &str) -> Result<Self, Error> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, format!("pier session {session}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        limit(&mut params);
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        let issuer = Issuer::new(params, key);
        Ok(Authority { issuer, pem, key: KeyPair::generate()?, configs: Mutex::default() })
    }

    /// Returns what answers a TLS handshake for a host.
    pub fn config(&self, name: &HostName) -> Result<Arc<ServerConfig>, Error> {
        let mut configs = self.configs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = configs.get(name) {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(self.sign(name)?);
        if configs.len() >= MOST {
            configs.clear();
        }
        configs.insert(name.clone(), Arc::clone(&config));
        Ok(config)
    }

    fn sign(&self, name: &HostName) -> Result<ServerConfig, Error> {
        let mut params = CertificateParams::new(vec![name.to_string()])?;
        // Longer than a common name may be, some are; the name itself is among the alternative ones.
        params.distinguished_name.push(DnType::CommonName, "pier");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        limit(&mut params);
        let certificate = params.signed_by(&self.key, &self.issuer)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()?
                .with_no_client_auth()
                .with_single_cert(vec![certificate.der().clone()], key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }

    /// Returns what is believed inside: what the host believes, a bundle of PEM, and this authority.
    pub fn bundle(&self, host: &[u8], java: bool) -> Bundle {
        let mut pem = host.to_vec();
        if !pem.is_empty() && !pem.ends_with(b"\n") {
            pem.push(b'\n');
        }
        pem.extend_from_slice(self.pem.as_bytes());
        let java = java.then(|| key_store(&certificates(&pem)));
        Bundle { pem, java }
    }
}

/// From yesterday, for clocks that differ.
fn limit(params: &mut CertificateParams) {
    let now = Timestamp::now().to_zoned(TimeZone::UTC);
    let day = |offset: i64| {
        let date = now.date().saturating_add(offset.days());
        date_time_ymd(
            date.year().into(),
            u8::try_from(date.month()).unwrap_or(1),
            u8::try_from(date.day()).unwrap_or(1),
        )
    };
    params.not_before = day(-1);
    params.not_after = day(DAYS);
}

/// The certificates that are believed inside.
pub struct Bundle {
    pub pem: Vec<u8>,
    /// The same ones in the form that Java reads.
    pub java: Option<Vec<u8>>,
}

/// Returns the certificates of a bundle; what is none in there is left out.
pub fn certificates(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let text = String::from_utf8_lossy(pem);
    let decode = |part: &str| {
        let (body, _) = part.split_once(END)?;
        let body: Vec<u8> = body.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        BASE64_STANDARD.decode(body).ok().map(CertificateDer::from)
    };
    text.split(BEGIN).skip(1).filter_map(decode).collect()
}

/// What everybody opens a store of Java's with; it protects nothing.
const PASSWORD: &str = "changeit";

/// Writes a key store of Java (JKS, version 2) that holds certificates and no key.
fn key_store(certificates: &[CertificateDer<'_>]) -> Vec<u8> {
    const MAGIC: u32 = 0xfeed_feed;
    const VERSION: u32 = 2;
    const CERTIFICATE: u32 = 2;
    let mut store = Vec::new();
    let length = |store: &mut Vec<u8>, length: usize| {
        store.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    };
    let text = |store: &mut Vec<u8>, text: &str| {
        store.extend_from_slice(&u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
        store.extend_from_slice(text.as_bytes());
    };
    for number in [MAGIC, VERSION] {
        store.extend_from_slice(&number.to_be_bytes());
    }
    length(&mut store, certificates.len());
    for (number, certificate) in certificates.iter().enumerate() {
        store.extend_from_slice(&CERTIFICATE.to_be_bytes());
        text(&mut store, &format!("pier-{number}"));
        // When it was added, which nobody asks.
        store.extend_from_slice(&0_u64.to_be_bytes());
        text(&mut store, "X.509");
        length(&mut store, certificate.len());
        store.extend_from_slice(certificate);
    }
    let mut digest = ring::digest::Context::new(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY);
    for unit in PASSWORD.encode_utf16() {
        digest.update(&unit.to_be_bytes());
    }
    digest.update(b"Mighty Aphrodite");
    digest.update(&store);
    store.extend_from_slice(digest.finish().as_ref());
    store
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_for_its_host_and_believed_with_the_bundle_alone() {
        let authority = Authority::new("test").unwrap();
        let other = Authority::new("test").unwrap();
        let name = HostName::parse("a.example").unwrap();
        let shake = |believed: &[u8], wanted: &'static str| {
            let mut roots = rustls::RootCertStore::empty();
            roots.add_parsable_certificates(certificates(believed));
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let config = rustls::ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
            let mut client =
                rustls::ClientConnection::new(Arc::new(config), wanted.try_into().unwrap()).unwrap();
            let mut server = rustls::ServerConnection::new(authority.config(&name).unwrap()).unwrap();
            while client.is_handshaking() {
                let mut sent = Vec::new();
                client.write_tls(&mut sent).unwrap();
                server.read_tls(&mut sent.as_slice()).unwrap();
                server.process_new_packets()?;
                let mut sent = Vec::new();
                server.write_tls(&mut sent).unwrap();
                client.read_tls(&mut sent.as_slice()).unwrap();
                client.process_new_packets()?;
            }
            Ok::<_, rustls::Error>(())
        };
        let bundle = authority.bundle(b"# nothing else", true);
        shake(&bundle.pem, "a.example").unwrap();
        shake(&bundle.pem, "b.example").unwrap_err();
        shake(&other.bundle(b"", false).pem, "a.example").unwrap_err();
        let java = bundle.java.unwrap();
        assert_eq!(java[..12], [0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2, 0, 0, 0, 1]);
    }

    #[test]
    fn certificates_of_hosts_are_bounded() {
        let authority = Authority::new("test").unwrap();
        for number in 0..=MOST {
            authority.config(&HostName::parse(&format!("n{number}.example")).unwrap()).unwrap();
        }
        assert_eq!(authority.configs.lock().unwrap().len(), 1);
    }
}
