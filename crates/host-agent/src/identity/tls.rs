//! Mutual TLS of the agent: TLS 1.3 only, this host's certificate, and no client but the control plane.
//!
//! One [`HotTls`] serves as certificate resolver and as client verifier of the server; a refresh swaps
//! what it holds, so new connections use the new certificate and old ones live on.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig,
    SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem, pem::PemObject as _},
    server::{
        ClientHello, ResolvesServerCert, VerifierBuilderError, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
};
use x509_parser::{extensions::GeneralName, prelude::FromDer as _};

use super::Credentials;

/// The only name that may call the agent.
const CONTROL_PLANE_URI: &str = "wrenn://control-plane";

/// Why certificate, key and CA cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Not PEM, or empty.
    #[error("read the {0} as PEM")]
    Pem(&'static str, #[source] pem::Error),
    /// Key and certificate are not a pair, or of an unknown kind.
    #[error("pair certificate and key")]
    Pair(#[source] rustls::Error),
    /// The CA is no certificate.
    #[error("trust the CA certificate")]
    Ca(#[source] rustls::Error),
    /// No verifier can be made of the CA.
    #[error("verify clients by the CA certificate")]
    Verifier(#[from] VerifierBuilderError),
    /// TLS 1.3 is not offered by the provider.
    #[error("offer TLS 1.3")]
    Version(#[source] rustls::Error),
}

/// One generation of certificate and CA.
#[derive(Debug)]
pub struct Material {
    certificate: Arc<CertifiedKey>,
    clients: Arc<dyn ClientCertVerifier>,
}

/// The newest certificate and CA.
#[derive(Debug)]
pub struct HotTls {
    current: ArcSwap<Material>,
}

impl HotTls {
    /// Uses these credentials.
    ///
    /// # Errors
    /// When they do not fit together.
    pub fn new(credentials: &Credentials) -> Result<Self, TlsError> {
        Ok(Self {
            current: ArcSwap::from_pointee(material(credentials)?),
        })
    }

    /// Whether `credentials` could be used; the result goes to [`Self::swap`].
    ///
    /// # Errors
    /// When they do not fit together.
    pub fn check(&self, credentials: &Credentials) -> Result<Material, TlsError> {
        material(credentials)
    }

    /// Uses `material` from the next connection on.
    pub fn swap(&self, material: Material) {
        self.current.store(Arc::new(material));
    }

    /// The configuration of the agent's server.
    ///
    /// # Errors
    /// When the crypto provider lacks TLS 1.3.
    pub fn server_config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, TlsError> {
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_protocol_versions(&[&rustls::version::TLS13])
                .map_err(TlsError::Version)?
                .with_client_cert_verifier(Arc::clone(self) as Arc<dyn ClientCertVerifier>)
                .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn material(credentials: &Credentials) -> Result<Material, TlsError> {
    let provider = aws_lc_rs::default_provider();
    let chain = CertificateDer::pem_slice_iter(credentials.cert_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TlsError::Pem("certificate", error))?;
    let key = PrivateKeyDer::from_pem_slice(credentials.key_pem.expose().as_bytes())
        .map_err(|error| TlsError::Pem("key", error))?;
    let certificate = CertifiedKey::from_der(chain, key, &provider).map_err(TlsError::Pair)?;
    let mut roots = RootCertStore::empty();
    for ca in CertificateDer::pem_slice_iter(credentials.ca_cert_pem.as_bytes()) {
        let ca = ca.map_err(|error| TlsError::Pem("CA certificate", error))?;
        roots.add(ca).map_err(TlsError::Ca)?;
    }
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(provider)).build()?;
    Ok(Material {
        certificate: Arc::new(certificate),
        clients,
    })
}

impl ResolvesServerCert for HotTls {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.load().certificate))
    }
}

impl ClientCertVerifier for HotTls {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified =
            self.current
                .load()
                .clients
                .verify_client_cert(end_entity, intermediates, now)?;
        if names_control_plane(end_entity) {
            Ok(verified)
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.current
            .load()
            .clients
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.current
            .load()
            .clients
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.current.load().clients.supported_verify_schemes()
    }
}

/// Whether the control plane's URI, and no other, is among the certificate's alternative names.
fn names_control_plane(certificate: &CertificateDer<'_>) -> bool {
    let Ok((_, parsed)) = x509_parser::certificate::X509Certificate::from_der(certificate) else {
        return false;
    };
    let Ok(Some(names)) = parsed.subject_alternative_name() else {
        return false;
    };
    let mut uris = names
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        });
    uris.next() == Some(CONTROL_PLANE_URI) && uris.next().is_none()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    fn check(uris: &[&str], expected: bool) {
        let mut params = CertificateParams::default();
        params.subject_alt_names = uris
            .iter()
            .map(|uri| SanType::URI((*uri).try_into().unwrap()))
            .collect();
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        assert_eq!(names_control_plane(certificate.der()), expected, "{uris:?}");
    }

    #[test]
    fn only_the_control_plane_is_named_the_control_plane() {
        check(&["wrenn://control-plane"], true);
        check(&["wrenn://host/host-0000000000000000000000001"], false);
        check(&["wrenn://control-plane/x"], false);
        check(&["wrenn://host/x", "wrenn://control-plane"], false);
        check(&["wrenn://control-plane", "wrenn://host/x"], false);
        check(&[], false);
    }
}
