use serde_json::{Value, json};

use super::*;

fn pod(context: Value, container: Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "ns", "uid": "u1"},
        "spec": {"securityContext": context, "containers": [{"name": "c", "securityContext": container}]},
    }))
    .expect("a pod")
}

fn settings() -> Settings {
    Settings { seccomp_root: PathBuf::from("/root/seccomp"), ..Settings::default() }
}

fn made_of(
    pod: &Pod,
    image_user: &ImageUser,
    settings: &Settings,
) -> Result<v1::LinuxContainerSecurityContext, String> {
    let container = &pod.spec.as_ref().expect("a spec").containers[0];
    of_container(pod, container, v1::NamespaceOption::default(), image_user, settings)
        .map_err(|e| e.to_string())
}

fn made(context: Value, container: Value) -> v1::LinuxContainerSecurityContext {
    made_of(&pod(context, container), &ImageUser::Id(0), &settings()).expect("a context")
}

/// The pod of kubelet-fixtures secctx.
fn recorded() -> Value {
    json!({"fsGroup": 2000, "runAsGroup": 3000, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"},
           "supplementalGroups": [4000, 4001], "sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "80"}]})
}

fn id(value: i64) -> Option<v1::Int64Value> {
    Some(v1::Int64Value { value })
}

/// Figures of kubelet-fixtures secctx/a.json, b.json, p.json and sandbox.json.
#[test]
fn rows_9_1_to_9_12_the_containers_fields_go_before_the_pods_as_recorded() {
    let a = made(
        recorded(),
        json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "runAsNonRoot": true,
               "capabilities": {"add": ["NET_BIND_SERVICE"], "drop": ["ALL"]}}),
    );
    let groups = vec![2000, 4000, 4001];
    let capabilities = a.capabilities.clone().expect("some");
    assert_eq!(
        (capabilities.add_capabilities, capabilities.drop_capabilities),
        (vec!["NET_BIND_SERVICE".to_owned()], vec!["ALL".to_owned()])
    );
    assert_eq!((a.run_as_user, a.run_as_group, &a.supplemental_groups), (id(1000), id(3000), &groups));
    assert!(a.no_new_privs && a.readonly_rootfs && !a.privileged);
    assert_eq!(a.seccomp, Some(v1::SecurityProfile::default()));
    assert_eq!((a.masked_paths.len(), a.readonly_paths.len()), (12, 5));
    assert_eq!((a.apparmor, a.apparmor_profile.as_str(), a.selinux_options), (None, "", None));

    let b = made(
        recorded(),
        json!({"capabilities": {"add": ["SYS_TIME"]}, "runAsUser": 0, "seccompProfile": {"type": "Unconfined"}}),
    );
    assert_eq!((b.run_as_user, b.run_as_group, b.supplemental_groups), (id(0), id(3000), groups.clone()));
    assert_eq!(b.seccomp.expect("one").profile_type, ProfileType::Unconfined as i32);
    assert!(!b.no_new_privs && !b.readonly_rootfs);

    let p = made(recorded(), json!({"privileged": true, "seccompProfile": {"type": "Unconfined"}}));
    assert!(
        p.privileged && p.masked_paths.len() == 12,
        "what a privileged container sees is the runtime's business"
    );

    let sandbox = of_sandbox(&pod(recorded(), json!({"privileged": true})), v1::NamespaceOption::default());
    assert_eq!(
        (sandbox.run_as_user, sandbox.run_as_group, sandbox.supplemental_groups),
        (id(1000), id(3000), groups)
    );
    assert!(sandbox.privileged);
    assert_eq!(sandbox.seccomp, Some(v1::SecurityProfile::default()));
    assert!(!of_sandbox(&pod(recorded(), json!({})), v1::NamespaceOption::default()).privileged);
}

#[test]
fn row_9_2_without_a_user_the_images_counts() {
    let of = |image: ImageUser| {
        let made = made_of(&pod(json!({}), json!({})), &image, &settings()).expect("a context");
        (made.run_as_user, made.run_as_username)
    };
    assert_eq!(of(ImageUser::Id(101)), (id(101), String::new()));
    assert_eq!(of(ImageUser::Name("nginx".to_owned())), (None, "nginx".to_owned()));
    let image = |uid: Option<i64>, username: &str| {
        ImageUser::of(&v1::Image {
            uid: uid.and_then(id),
            username: username.to_owned(),
            ..Default::default()
        })
    };
    assert_eq!(image(Some(5), "x"), ImageUser::Id(5));
    assert_eq!(image(None, "x"), ImageUser::Name("x".to_owned()));
    assert_eq!(image(None, ""), ImageUser::Id(0), "root");
}

#[test]
fn row_9_3_a_container_that_must_not_be_root_says_why_it_may_be() {
    let non_root = json!({"runAsNonRoot": true});
    let named = || ImageUser::Name("app".to_owned());
    let place = "(pod: \"web_ns(u1)\", container: c)";
    let by_user = format!("container's runAsUser breaks non-root policy {place}");
    let by_image = format!("container has runAsNonRoot and image will run as root {place}");
    let by_name = format!(
        "container has runAsNonRoot and image has non-numeric user (app), cannot verify user is non-root {place}"
    );
    let table = [
        (non_root.clone(), json!({"runAsUser": 0}), ImageUser::Id(5), Some(&by_user)),
        (non_root.clone(), json!({"runAsUser": 7}), ImageUser::Id(0), None),
        (json!({"runAsUser": 7}), non_root.clone(), named(), None),
        (json!({"runAsUser": 0}), non_root.clone(), named(), Some(&by_user)),
        (non_root.clone(), json!({}), ImageUser::Id(0), Some(&by_image)),
        (non_root.clone(), json!({}), ImageUser::Id(5), None),
        (non_root.clone(), json!({}), named(), Some(&by_name)),
        // The container's own word goes before the pod's.
        (non_root.clone(), json!({"runAsNonRoot": false}), ImageUser::Id(0), None),
        (json!({"runAsNonRoot": false}), non_root.clone(), ImageUser::Id(0), Some(&by_image)),
        (json!({}), json!({}), ImageUser::Id(0), None),
    ];
    for (context, container, image, expected) in table {
        let got = made_of(&pod(context.clone(), container.clone()), &image, &settings());
        assert_eq!(got.err().as_ref(), expected, "{context} {container} {image:?}");
    }
}

#[test]
fn row_9_6_strict_groups_are_passed_for_pod_and_container() {
    let strict = json!({"supplementalGroupsPolicy": "Strict"});
    assert_eq!(
        made(strict.clone(), json!({})).supplemental_groups_policy,
        v1::SupplementalGroupsPolicy::Strict as i32
    );
    let sandbox = of_sandbox(&pod(strict, json!({})), v1::NamespaceOption::default());
    assert_eq!(sandbox.supplemental_groups_policy, v1::SupplementalGroupsPolicy::Strict as i32);
    assert_eq!(
        made(json!({}), json!({})).supplemental_groups_policy,
        v1::SupplementalGroupsPolicy::Merge as i32
    );
}

#[test]
fn row_9_11_paths_are_hidden_unless_the_container_asks_for_all_of_proc() {
    let root = tempfile::tempdir().expect("a directory");
    for cpu in ["cpu0/thermal_throttle", "cpu1", "cpufreq/thermal_throttle", "cpu10/thermal_throttle"] {
        std::fs::create_dir_all(root.path().join("sys/devices/system/cpu").join(cpu)).expect("made");
    }
    let settings = Settings::new(root.path(), Path::new("/var/lib/kubelet"), false);
    let of_cpus = ["cpu0", "cpu10"].map(|cpu| format!("/sys/devices/system/cpu/{cpu}/thermal_throttle"));
    assert_eq!(settings.masked_paths, of_cpus);
    assert!(!settings.selinux);
    assert_eq!(settings.seccomp_root, Path::new("/var/lib/kubelet/seccomp"));
    let of = |mount: &str| {
        let pod = pod(json!({}), json!({"procMount": mount}));
        made_of(&pod, &ImageUser::Id(0), &settings).expect("a context")
    };
    let hidden = of("Default");
    assert_eq!((hidden.masked_paths.len(), hidden.readonly_paths.len()), (14, 5));
    assert_eq!(hidden.masked_paths[12..], of_cpus);
    let open = of("Unmasked");
    assert!(open.masked_paths.is_empty() && open.readonly_paths.is_empty());
}

#[test]
fn row_9_12_a_seccomp_profile_is_the_containers_the_pods_or_the_nodes() {
    let local = |name: &str| json!({"seccompProfile": {"type": "Localhost", "localhostProfile": name}});
    let plain = |kind: &str| json!({"seccompProfile": {"type": kind}});
    let of = |context: Value, container: Value, seccomp_default: bool| {
        let settings = Settings { seccomp_default, ..settings() };
        let profile = made_of(&pod(context, container), &ImageUser::Id(0), &settings)?.seccomp.expect("one");
        Ok::<_, String>((profile.profile_type(), profile.localhost_ref))
    };
    let (unconfined, default) =
        ((ProfileType::Unconfined, String::new()), (ProfileType::RuntimeDefault, String::new()));
    assert_eq!(of(json!({}), json!({}), false), Ok(unconfined.clone()));
    assert_eq!(of(json!({}), json!({}), true), Ok(default.clone()));
    assert_eq!(of(plain("Unconfined"), json!({}), true), Ok(unconfined));
    assert_eq!(of(plain("Unconfined"), plain("RuntimeDefault"), false), Ok(default));
    let profile = (ProfileType::Localhost, "/root/seccomp/dir/p.json".to_owned());
    assert_eq!(of(plain("Unconfined"), local("dir/p.json"), false), Ok(profile));
    let error = "localhostProfile must be set if seccompProfile type is Localhost.";
    assert_eq!(of(local(""), json!({}), false), Err(error.to_owned()));
    assert_eq!(of(plain("Localhost"), json!({}), false), Err(error.to_owned()));
}

#[test]
fn row_9_13_an_app_armor_profile_is_told_in_both_spellings() {
    let of = |context: Value, container: Value, annotation: Option<&str>| {
        let mut pod = pod(context, container);
        pod.metadata.annotations = annotation
            .map(|value| [(format!("{}c", podspec::APP_ARMOR_ANNOTATION), value.to_owned())].into());
        let made = made_of(&pod, &ImageUser::Id(0), &settings())?;
        let profile = made.apparmor.map(|p| (p.profile_type(), p.localhost_ref));
        Ok::<_, String>((profile, made.apparmor_profile))
    };
    let field =
        |kind: &str, name: Option<&str>| json!({"appArmorProfile": {"type": kind, "localhostProfile": name}});
    let told =
        |kind: ProfileType, name: &str, older: &str| Ok((Some((kind, name.to_owned())), older.to_owned()));
    let local = || told(ProfileType::Localhost, "p", "localhost/p");
    assert_eq!(of(json!({}), json!({}), None), Ok((None, String::new())));
    assert_eq!(
        of(field("RuntimeDefault", None), json!({}), None),
        told(ProfileType::RuntimeDefault, "", "runtime/default")
    );
    assert_eq!(of(field("RuntimeDefault", None), field("Localhost", Some("p")), None), local());
    assert_eq!(of(field("RuntimeDefault", None), json!({}), Some("localhost/p")), local());
    assert_eq!(
        of(json!({}), field("Unconfined", None), Some("localhost/p")),
        told(ProfileType::Unconfined, "", "unconfined")
    );
    assert_eq!(
        of(json!({}), json!({}), Some("runtime/default")),
        told(ProfileType::RuntimeDefault, "", "runtime/default")
    );
    assert_eq!(
        of(field("Localhost", None), json!({}), None),
        Err("missing localhost apparmor profile name".to_owned())
    );
    assert_eq!(
        of(field("Other", None), json!({}), None),
        Err("unknown apparmor profile type: Other".to_owned())
    );
}

#[test]
fn row_9_14_selinux_labels_are_passed_as_they_are() {
    let options = json!({"seLinuxOptions": {"user": "u", "role": "r", "type": "t", "level": "s0:c1,c2"}});
    let label = v1::SeLinuxOption {
        user: "u".into(),
        role: "r".into(),
        r#type: "t".into(),
        level: "s0:c1,c2".into(),
    };
    assert_eq!(made(options.clone(), json!({})).selinux_options, Some(label.clone()));
    let other = made(options.clone(), json!({"seLinuxOptions": {"type": "x"}})).selinux_options.expect("one");
    assert_eq!((other.r#type.as_str(), other.level.as_str()), ("x", ""));
    assert_eq!(
        of_sandbox(&pod(options, json!({})), v1::NamespaceOption::default()).selinux_options,
        Some(label)
    );
}

/// Figures of kubelet-fixtures hostns, sharepid, hostnet and twoc, sandbox.json.
#[test]
fn rows_7_9_and_9_16_namespaces_are_the_pods_the_nodes_or_the_containers() {
    use v1::NamespaceMode::{Container, Node, Pod};
    let of = |spec: Value| {
        let mut spec = spec;
        spec["containers"] = json!([]);
        let spec: PodSpec = serde_json::from_value(spec).expect("a spec");
        let made = namespaces(&spec, v1::UserNamespace::default());
        (made.network(), made.pid(), made.ipc())
    };
    assert_eq!(of(json!({})), (Pod, Container, Pod));
    assert_eq!(of(json!({"hostNetwork": true})), (Node, Container, Pod));
    assert_eq!(of(json!({"hostPID": true, "hostIPC": true})), (Pod, Node, Node));
    assert_eq!(of(json!({"shareProcessNamespace": true})), (Pod, Pod, Pod));
}
