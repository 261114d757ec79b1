//! What is asked for with a CertificateSigningRequest, and what an answer means. behaviour.md 34.1, 34.3.

use std::collections::BTreeSet;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use k8s_openapi::api::core::v1::NodeAddress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PublicKeyData as _};
use sha2::{Digest as _, Sha512_256};

const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const SERVING_SIGNER: &str = "kubernetes.io/kubelet-serving";
/// Of all nodes.
const GROUP: &str = "system:nodes";
/// Longest text of somebody else's that is repeated in a message.
const MESSAGE_BYTES: usize = 512;

/// A certificate as it is wished for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    signer: &'static str,
    common_name: String,
    /// DNS names and addresses, sorted.
    pub(crate) names: Vec<String>,
    usages: [&'static str; 2],
}

impl Wanted {
    /// With which the node speaks to the API server.
    pub(crate) fn client(node_name: &str) -> Self {
        Self {
            signer: CLIENT_SIGNER,
            common_name: format!("system:node:{node_name}"),
            names: Vec::new(),
            usages: ["digital signature", "client auth"],
        }
    }

    /// With which port 10250 is served; `None` while no address is known, as the signer wants one.
    pub(crate) fn serving(node_name: &str, addresses: &[NodeAddress]) -> Option<Self> {
        let names: BTreeSet<String> = addresses
            .iter()
            .map(|address| {
                address.address.parse::<IpAddr>().map_or(address.address.clone(), |ip| ip.to_string())
            })
            .collect();
        names.iter().any(|name| name.parse::<IpAddr>().is_ok()).then(|| Self {
            signer: SERVING_SIGNER,
            common_name: format!("system:node:{node_name}"),
            names: names.into_iter().collect(),
            usages: ["digital signature", "server auth"],
        })
    }

    /// The name of the request, the same for the same key and wish: whoever asks again finds what was asked before.
    pub(crate) fn request_name(&self, key: &KeyPair) -> String {
        let mut hash = Sha512_256::new();
        let mut add = |part: &[u8]| {
            hash.update(URL_SAFE_NO_PAD.encode(part));
            hash.update(b"|");
        };
        add(&key.subject_public_key_info());
        add(self.common_name.as_bytes());
        add(GROUP.as_bytes());
        for usage in self.usages {
            add(usage.as_bytes());
        }
        // A kubelet's client request has no names, so that its name is the same here; another address is another request.
        for name in &self.names {
            add(name.as_bytes());
        }
        format!("node-csr-{}", URL_SAFE_NO_PAD.encode(hash.finalize()))
    }

    /// The object to post. Usages: of an elliptic key, which enciphers nothing.
    ///
    /// # Errors
    /// A name cannot be put into a certificate.
    pub(crate) fn object(&self, key: &KeyPair) -> Result<CertificateSigningRequest, rcgen::Error> {
        let mut params = CertificateParams::new(self.names.clone())?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, GROUP);
        params.distinguished_name.push(DnType::CommonName, self.common_name.as_str());
        let request = params.serialize_request(key)?.pem()?;
        Ok(CertificateSigningRequest {
            metadata: ObjectMeta { name: Some(self.request_name(key)), ..ObjectMeta::default() },
            spec: CertificateSigningRequestSpec {
                request: ByteString(request.into_bytes()),
                signer_name: self.signer.to_owned(),
                usages: Some(self.usages.map(str::to_owned).to_vec()),
                ..CertificateSigningRequestSpec::default()
            },
            status: None,
        })
    }
}

/// What has become of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Nobody has decided.
    Pending,
    /// It was approved and is not signed yet.
    Approved,
    /// The certificate, PEM.
    Issued(Vec<u8>),
    /// Somebody has said no, and why.
    Denied(String),
    /// The signer could not sign it, and why.
    Failed(String),
}

impl Answer {
    pub(crate) fn of(request: &CertificateSigningRequest) -> Self {
        let status = request.status.as_ref();
        let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        let told = |kind: &str| {
            let condition =
                conditions.iter().find(|condition| condition.type_ == kind && condition.status != "False")?;
            let texts = [condition.reason.as_deref(), condition.message.as_deref()];
            let text =
                texts.into_iter().flatten().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(": ");
            Some(bounded(&text))
        };
        if let Some(why) = told("Denied") {
            return Self::Denied(why);
        }
        if let Some(why) = told("Failed") {
            return Self::Failed(why);
        }
        // A certificate without an approval is not one that a signer has given.
        match (told("Approved"), status.and_then(|status| status.certificate.as_ref())) {
            (Some(_), Some(certificate)) if !certificate.0.is_empty() => Self::Issued(certificate.0.clone()),
            (Some(_), _) => Self::Approved,
            (None, _) => Self::Pending,
        }
    }
}

fn bounded(text: &str) -> String {
    let mut end = text.len().min(MESSAGE_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().replace(char::is_control, " ")
}

#[cfg(test)]
mod tests;
