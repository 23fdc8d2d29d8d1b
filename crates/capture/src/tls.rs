//! TLS for PostgreSQL: what each `sslmode` verifies.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::connect::ConnectError;

/// How much of the server's certificate is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verify {
    /// Encryption only: no protection from a machine in the middle.
    Nothing,
    /// A trusted authority signed it.
    Chain,
    /// And it names this host.
    Full,
}

/// Makes the connector; `wanted` is false where TLS is off, so that the system's roots need not exist there.
pub(crate) fn connector(
    verify: Verify,
    ca_file: Option<&str>,
    wanted: bool,
) -> Result<MakeRustlsConnect, ConnectError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let trusted = if wanted && verify != Verify::Nothing {
        trusted(ca_file)?
    } else {
        Vec::new()
    };
    let verifier = Verifier::new(verify, trusted, &provider)?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ConnectError::config(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

fn trusted(ca_file: Option<&str>) -> Result<Vec<CertificateDer<'static>>, ConnectError> {
    let certificates = match ca_file {
        Some(path) if path != "system" => CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| ConnectError::config(format!("cannot read sslrootcert {path}: {error}")))?,
        _ => rustls_native_certs::load_native_certs().certs,
    };
    if certificates.is_empty() {
        return Err(ConnectError::config(
            "no trusted certificate found: name a CA file with sslrootcert",
        ));
    }
    Ok(certificates)
}

/// The standard verifier, with the exceptions that `sslmode` asks for.
#[derive(Debug)]
struct Verifier {
    verify: Verify,
    /// Absent when nothing is verified.
    inner: Option<Arc<WebPkiServerVerifier>>,
    trusted: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn new(
        verify: Verify,
        trusted: Vec<CertificateDer<'static>>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, ConnectError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(trusted.iter().cloned());
        let inner = if roots.is_empty() {
            None
        } else {
            let built =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build();
            Some(built.map_err(|error| ConnectError::config(format!("sslrootcert: {error}")))?)
        };
        Ok(Self {
            verify,
            inner,
            trusted,
            provider: Arc::clone(provider),
        })
    }

    /// A server that presents the very certificate that the CA file holds is known, even though a certificate that may
    /// sign others is refused as a server's by the standard verifier (self-signed ones are commonly made that way).
    fn pinned(
        &self,
        error: rustls::Error,
        server: &CertificateDer<'_>,
        name: &ServerName<'_>,
    ) -> Result<(), rustls::Error> {
        if !self.trusted.iter().any(|known| known.as_ref() == server.as_ref()) {
            return Err(error);
        }
        match &error {
            rustls::Error::InvalidCertificate(CertificateError::Other(_)) => {}
            _ => return Err(error),
        }
        if self.verify == Verify::Full {
            let parsed = rustls::server::ParsedCertificate::try_from(server)?;
            rustls::client::verify_server_name(&parsed, name)?;
        }
        Ok(())
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        server: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let inner = match (&self.inner, self.verify) {
            (_, Verify::Nothing) => return Ok(ServerCertVerified::assertion()),
            (Some(inner), _) => inner,
            (None, _) => return Err(rustls::Error::General("no trusted certificate".to_owned())),
        };
        match inner.verify_server_cert(server, intermediates, name, ocsp, now) {
            Ok(verified) => Ok(verified),
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.verify == Verify::Chain => Ok(ServerCertVerified::assertion()),
            Err(error) => self
                .pinned(error, server, name)
                .map(|()| ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
