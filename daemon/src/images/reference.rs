//! Names of images: the repository without tag and digest, in full.

/// What Docker's own registry is called in names.
const DOCKER: &str = "docker.io";

/// `docker.io/library/busybox` of `busybox:1`. The name was found to be valid before.
pub(crate) fn repository(image: &str) -> String {
    let name = image.split_once('@').map_or(image, |(name, _)| name);
    let slash = name.rfind('/').map_or(0, |at| at + 1);
    let name = name[slash..].find(':').map_or(name, |colon| &name[..slash + colon]);
    let (host, path) = match name.split_once('/') {
        Some((first, path)) if is_host(first) => (first, path),
        _ => (DOCKER, name),
    };
    let host = if host == "index.docker.io" { DOCKER } else { host };
    let library = if host == DOCKER && !path.contains('/') { "library/" } else { "" };
    format!("{host}/{library}{path}")
}

/// A name in full, with its digest, else its tag, else the default tag: two names of the same image are the same.
pub(crate) fn canonical(image: &str) -> String {
    let at = image.find('@').or_else(|| image.rfind(':').filter(|at| !image[*at..].contains('/')));
    format!("{}{}", repository(image), at.map_or(":latest", |at| &image[at..]))
}

/// Whether the first part of a name is a registry and not a user of Docker's.
fn is_host(part: &str) -> bool {
    part.contains(['.', ':']) || part == "localhost" || part.bytes().any(|b| b.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tag_and_digest_go_and_the_registry_is_named() {
        let digest = format!("quay.test/a/b:1@sha256:{}", "0".repeat(64));
        for (image, full) in [
            ("busybox", "docker.io/library/busybox"),
            ("busybox:1", "docker.io/library/busybox"),
            ("somebody/tool:1", "docker.io/somebody/tool"),
            ("docker.io/busybox", "docker.io/library/busybox"),
            ("index.docker.io/somebody/tool", "docker.io/somebody/tool"),
            ("localhost/a", "localhost/a"),
            ("host.test:5000/a/b:1", "host.test:5000/a/b"),
            (digest.as_str(), "quay.test/a/b"),
        ] {
            assert_eq!(repository(image), full, "{image}");
        }
    }

    #[test]
    fn two_names_of_one_image_are_the_same_in_full() {
        let digest = format!("@sha256:{}", "0".repeat(64));
        for (image, full) in [
            ("busybox".to_owned(), "docker.io/library/busybox:latest".to_owned()),
            ("docker.io/library/busybox:latest".to_owned(), "docker.io/library/busybox:latest".to_owned()),
            ("host.test:5000/a".to_owned(), "host.test:5000/a:latest".to_owned()),
            (format!("quay.test/a:1{digest}"), format!("quay.test/a{digest}")),
        ] {
            assert_eq!(canonical(&image), full);
        }
    }

    #[test]
    fn no_name_makes_it_panic() {
        bolero::check!().with_type::<String>().for_each(|name: &String| {
            let _ = (repository(name), canonical(name));
        });
    }
}
