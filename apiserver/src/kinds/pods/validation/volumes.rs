//! Volumes.

use serde_json::Value;

use super::containers::Volumes;
use super::{Errors, invalid_all, local_path, no_back_steps, one_of, required, resources, sources};
use crate::kinds::field::{FieldError, Path};
use crate::kinds::names;
use crate::kinds::values::{items, number, string};

const HOST_PATH_TYPES: &[&str] =
    &["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
const PULL_POLICIES: &[&str] = &["Always", "IfNotPresent", "Never"];
/// The shortest and longest life of a projected token, in seconds.
const TOKEN_SECONDS: std::ops::RangeInclusive<i64> = 600..=(1 << 32);

/// Checks all volumes and gives those that have a name.
pub(super) fn volumes<'a>(list: &'a [Value], path: &Path, errors: &mut Errors) -> Volumes<'a> {
    let mut known = Volumes::new();
    for (index, volume) in list.iter().enumerate() {
        let path = path.index(index);
        let name = required(volume, "name", &path, errors);
        let problems = if name.is_empty() { Vec::new() } else { names::label(name) };
        invalid_all(&problems, name, &path.child("name"), errors);
        if !name.is_empty() && known.insert(name, volume).is_some() {
            errors.push(FieldError::duplicate(&path.child("name"), name));
        }
        let mut found = false;
        for (kind, source) in
            volume.as_object().into_iter().flatten().filter(|(k, v)| *k != "name" && v.is_object())
        {
            let path = path.child(kind);
            if found {
                errors.push(FieldError::forbidden(&path, "may not specify more than 1 volume type"));
            } else {
                self::source(kind, source, &path, errors);
            }
            found = true;
        }
        if !found {
            errors.push(FieldError::required(&path, "must specify a volume type"));
        }
    }
    known
}

fn source(kind: &str, source: &Value, path: &Path, errors: &mut Errors) {
    match kind {
        "emptyDir" => {
            if let Some(limit) = source.get("sizeLimit") {
                resources::amount(limit, &path.child("sizeLimit"), errors);
            }
        }
        "hostPath" => {
            let place = required(source, "path", path, errors);
            no_back_steps(place, &path.child("path"), errors);
            let kind = string(source, "type");
            if !HOST_PATH_TYPES.contains(&kind) {
                errors.push(FieldError::not_supported(&path.child("type"), kind, HOST_PATH_TYPES));
            }
        }
        "configMap" => {
            required(source, "name", path, errors);
            files(source, path, errors);
        }
        "secret" => {
            required(source, "secretName", path, errors);
            files(source, path, errors);
        }
        "downwardAPI" => {
            mode(source, "defaultMode", path, errors);
            sources::downward_files(items(source, "items"), &path.child("items"), errors);
        }
        "projected" => projected(source, path, errors),
        "persistentVolumeClaim" => {
            required(source, "claimName", path, errors);
        }
        "nfs" => {
            required(source, "server", path, errors);
            let place = required(source, "path", path, errors);
            if !place.is_empty() && !place.starts_with('/') {
                errors.push(FieldError::invalid(&path.child("path"), place, "must be an absolute path"));
            }
        }
        "csi" => {
            required(source, "driver", path, errors);
        }
        "image" => {
            required(source, "reference", path, errors);
            one_of(string(source, "pullPolicy"), PULL_POLICIES, &path.child("pullPolicy"), errors);
        }
        "ephemeral" if source.get("volumeClaimTemplate").is_none() => {
            errors.push(FieldError::required(&path.child("volumeClaimTemplate"), ""));
        }
        _ => {}
    }
}

/// The permissions of a file.
pub(super) fn mode(holder: &Value, field: &str, path: &Path, errors: &mut Errors) {
    if let Some(mode) = number(holder, field).filter(|m| !(0..=0o777).contains(m)) {
        let detail = "must be a number between 0 and 0777 (octal), both inclusive";
        errors.push(FieldError::invalid(&path.child(field), mode, detail));
    }
}

/// `defaultMode` and `items` of a config map or secret.
fn files(source: &Value, path: &Path, errors: &mut Errors) {
    mode(source, "defaultMode", path, errors);
    for (index, file) in items(source, "items").iter().enumerate() {
        let path = path.child("items").index(index);
        required(file, "key", &path, errors);
        local_path(required(file, "path", &path, errors), &path.child("path"), errors);
        mode(file, "mode", &path, errors);
    }
}

fn projected(source: &Value, path: &Path, errors: &mut Errors) {
    mode(source, "defaultMode", path, errors);
    for (index, part) in items(source, "sources").iter().enumerate() {
        let path = path.child("sources").index(index);
        for (count, (kind, part)) in part.as_object().into_iter().flatten().enumerate() {
            let path = path.child(kind);
            if count > 0 {
                errors
                    .push(FieldError::forbidden(&path, "may not specify more than 1 volume type per source"));
                continue;
            }
            match kind.as_str() {
                "configMap" | "secret" => {
                    required(part, "name", &path, errors);
                    files(part, &path, errors);
                }
                "downwardAPI" => sources::downward_files(items(part, "items"), &path.child("items"), errors),
                "serviceAccountToken" => token(part, &path, errors),
                _ => {}
            }
        }
    }
}

fn token(token: &Value, path: &Path, errors: &mut Errors) {
    local_path(required(token, "path", path, errors), &path.child("path"), errors);
    if let Some(seconds) = number(token, "expirationSeconds").filter(|s| !TOKEN_SECONDS.contains(s)) {
        let detail = if seconds < *TOKEN_SECONDS.start() {
            "may not specify a duration less than 10 minutes"
        } else {
            "may not specify a duration larger than 2^32 seconds"
        };
        errors.push(FieldError::invalid(&path.child("expirationSeconds"), seconds, detail));
    }
}
