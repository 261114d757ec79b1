//! Kubeconfig files with everything embedded.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::files::{self, FileError};
use super::{Credential, Pki};

/// What a kubeconfig says.
#[derive(Debug)]
pub(crate) struct Kubeconfig<'a> {
    pub(crate) server: &'a str,
    pub(crate) ca_pem: &'a str,
    pub(crate) user: &'a str,
    pub(crate) credential: &'a Credential,
}

impl Kubeconfig<'_> {
    /// Writes the file, for its owner alone.
    pub(crate) fn write(&self, path: &Path) -> Result<(), FileError> {
        files::write(path, self.to_string().as_bytes())
    }

    /// The kubeconfig of a certificate that this authority signed.
    pub(crate) fn new<'a>(
        pki: &'a Pki,
        server: &'a str,
        user: &'a str,
        credential: &'a Credential,
    ) -> Kubeconfig<'a> {
        Kubeconfig { server, ca_pem: pki.ca_pem(), user, credential }
    }
}

impl std::fmt::Display for Kubeconfig<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // JSON strings are YAML strings, whatever a user's name contains.
        let text = |s: &str| Value::from(s);
        let data = |pem: &str| Value::from(STANDARD.encode(pem));
        let context = format!("{}@nodelet", self.user);
        writeln!(f, "apiVersion: v1")?;
        writeln!(f, "kind: Config")?;
        writeln!(f, "clusters:")?;
        writeln!(f, "- name: nodelet")?;
        writeln!(f, "  cluster:")?;
        writeln!(f, "    server: {}", text(self.server))?;
        writeln!(f, "    certificate-authority-data: {}", data(self.ca_pem))?;
        writeln!(f, "users:")?;
        writeln!(f, "- name: {}", text(self.user))?;
        writeln!(f, "  user:")?;
        writeln!(f, "    client-certificate-data: {}", data(&self.credential.certificate_pem))?;
        writeln!(f, "    client-key-data: {}", data(&self.credential.key_pem))?;
        writeln!(f, "contexts:")?;
        writeln!(f, "- name: {}", text(&context))?;
        writeln!(f, "  context: {}", json!({ "cluster": "nodelet", "user": self.user }))?;
        writeln!(f, "current-context: {}", text(&context))
    }
}
