//! Volumes of every kind, seen from inside of containers of a real containerd.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::Duration;

use harness::cluster::{Cluster, ClusterOptions, scenario};
use harness::images::BUSYBOX;
use harness::wait::{self, Look};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::{Value, json};
use tokio::time::Instant;

const LIMIT: Duration = Duration::from_secs(60);

/// A pod of one container that runs `script` and then sleeps.
fn pod(name: &str, script: &str, mounts: &Value, volumes: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "volumes", "tier": "a.b"}, "annotations": {"note": "first"}},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "c", "image": BUSYBOX, "command": ["sh", "-c", format!("{script}\necho looked; exec sleep 100000")],
                "volumeMounts": mounts,
            }],
            "volumes": volumes,
        },
    })
}

fn config_map(name: &str, data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

fn secret(name: &str, data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data})
}

async fn apply(cluster: &Cluster, objects: &[Value]) {
    let manifests: Vec<String> = objects.iter().map(Value::to_string).collect();
    cluster.apply(&manifests.join("\n---\n")).await.unwrap();
}

/// What a pod's container has logged, once it has looked at everything.
async fn looked(cluster: &Cluster, pod: &str) -> String {
    cluster.wait_ready(pod, LIMIT).await.unwrap();
    let look = || async {
        let log = cluster.kubectl_ok(&["logs", pod]).await.unwrap_or_default();
        if log.ends_with("looked\n") { Look::There(log) } else { Look::NotYet(log) }
    };
    wait::until(&format!("{pod} to have looked"), LIMIT, look).await.unwrap()
}

/// The events of a pod, once one of them says `text`.
async fn told(cluster: &Cluster, pod: &str, text: &str) -> String {
    let look = || async {
        let shown = cluster.kubectl_ok(&["events", &format!("--for=pod/{pod}")]).await.unwrap();
        if shown.contains(text) { Look::There(shown) } else { Look::NotYet(shown) }
    };
    wait::until(&format!("an event of pod {pod} that says {text:?}"), LIMIT, look).await.unwrap()
}

async fn read(cluster: &Cluster, name: &str) -> Pod {
    let pods: Api<Pod> = Api::default_namespaced(cluster.client().clone());
    pods.get(name).await.unwrap()
}

/// The pod's directory on its node.
async fn directory(cluster: &Cluster, name: &str) -> PathBuf {
    let uid = read(cluster, name).await.metadata.uid.unwrap();
    cluster.node(0).dir().join("root/pods").join(uid)
}

/// What is mounted below the node's root directory: the mount's number and place.
fn mounted(cluster: &Cluster) -> Vec<(i32, PathBuf)> {
    let root = cluster.node(0).dir().join("root");
    let table = procfs::process::Process::myself().unwrap().mountinfo().unwrap();
    let below = table.into_iter().filter(|mount| mount.mount_point.starts_with(&root));
    below.map(|mount| (mount.mnt_id, mount.mount_point)).collect()
}

async fn delete_all(cluster: &Cluster, pods: &[&str]) {
    let arguments: Vec<&str> = ["delete", "pod", "--wait=false"].iter().chain(pods).copied().collect();
    cluster.kubectl_ok(&arguments).await.unwrap();
    for pod in pods {
        cluster.wait_gone(pod, LIMIT).await.unwrap();
    }
}

/// Neither a mount nor a directory of any pod is left on the node.
async fn nothing_is_left(cluster: &Cluster) {
    let look = || async {
        let pods = std::fs::read_dir(cluster.node(0).dir().join("root/pods")).unwrap();
        let left: Vec<PathBuf> = pods.map(|entry| entry.unwrap().path()).collect();
        let mounts = mounted(cluster);
        if left.is_empty() && mounts.is_empty() {
            Look::There(())
        } else {
            Look::NotYet(format!("{left:?} {mounts:?}"))
        }
    };
    wait::until("everything of the pods to be gone from the node", LIMIT, look).await.unwrap();
}

fn lines(log: &str, lines: &[&str]) {
    for line in lines {
        assert!(log.lines().any(|found| found == *line), "no line {line:?} in\n{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_volume_is_there_with_its_modes_and_goes_with_its_pod() {
    scenario(ClusterOptions::for_test("volumes-kinds").unwrap(), async |cluster| {
        let host = cluster.node(0).dir().join("host");
        std::fs::create_dir_all(host.join("dir")).unwrap();
        std::fs::write(host.join("dir/file"), "of the node\n").unwrap();
        let host = |part: &str| host.join(part).display().to_string();
        apply(
            cluster,
            &[
                config_map("settings", &json!({"a.conf": "one\n", "b.conf": "two\n"})),
                secret("keys", &json!({"user": "me", "password": "hunter2"})),
            ],
        )
        .await;
        let files = pod(
            "files",
            "ls -lA /map | cut -c1-10,40-\n cat /map/a.conf /some/deep/file; stat -Lc 'some %a' /some/deep/file\n\
             stat -fc 'secret %T' /secret; stat -Lc 'password %a' /secret/password; cat /secret/user; echo\n\
             cat /down/labels; echo; cat /down/name; echo; cat /down/limit; echo; cat /down/note; echo\n\
             cat /all/a.conf /all/sub/user; echo; cat /all/namespace; echo\n\
             stat -fc 'projected %T' /all; touch /map/x 2>&1; touch /secret/x 2>&1; ls /none; cat /one",
            &json!([
                {"name": "map", "mountPath": "/map"}, {"name": "some", "mountPath": "/some"}, {"name": "secret", "mountPath": "/secret"},
                {"name": "down", "mountPath": "/down"}, {"name": "all", "mountPath": "/all"}, {"name": "none", "mountPath": "/none"},
                {"name": "map", "mountPath": "/one", "subPath": "b.conf"},
            ]),
            &json!([
                {"name": "map", "configMap": {"name": "settings"}},
                {"name": "some", "configMap": {"name": "settings", "items": [{"key": "a.conf", "path": "deep/file", "mode": 256}]}},
                {"name": "secret", "secret": {"secretName": "keys", "defaultMode": 288}},
                {"name": "none", "configMap": {"name": "nowhere", "optional": true}},
                {"name": "down", "downwardAPI": {"items": [
                    {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
                    {"path": "name", "fieldRef": {"fieldPath": "metadata.name"}},
                    {"path": "note", "fieldRef": {"fieldPath": "metadata.annotations['note']"}},
                    {"path": "limit", "resourceFieldRef": {"containerName": "c", "resource": "limits.memory", "divisor": "1Mi"}}]}},
                {"name": "all", "projected": {"sources": [
                    {"configMap": {"name": "settings"}},
                    {"secret": {"name": "keys", "items": [{"key": "user", "path": "sub/user"}]}},
                    {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}}]}},
            ]),
        );
        let mut dirs = pod(
            "dirs",
            "stat -c 'disk %a' /disk; stat -fc 'memory %T' /memory; df -k /memory | tail -1 | awk '{print \"size \" $2}'\n\
             echo shared > /disk/word; cat /host/file; cat /file; ls -d /made; stat -c 'group %g %a' /owned\n\
             touch /owned/mine; stat -c 'mine %g' /owned/mine; id | grep -o 'groups=.*'\n\
             echo part > /part/x; echo named > /named/x",
            &json!([
                {"name": "disk", "mountPath": "/disk"}, {"name": "memory", "mountPath": "/memory"}, {"name": "host", "mountPath": "/host"},
                {"name": "file", "mountPath": "/file"}, {"name": "made", "mountPath": "/made"}, {"name": "owned", "mountPath": "/owned"},
                {"name": "disk", "mountPath": "/part", "subPath": "deep/part"},
                {"name": "disk", "mountPath": "/named", "subPathExpr": "$(POD)-$$(POD)"},
            ]),
            &json!([
                {"name": "disk", "emptyDir": {}}, {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
                {"name": "host", "hostPath": {"path": host("dir"), "type": "Directory"}},
                {"name": "file", "hostPath": {"path": host("dir/file"), "type": "File"}},
                {"name": "made", "hostPath": {"path": host("made/here"), "type": "DirectoryOrCreate"}},
                {"name": "owned", "emptyDir": {}},
            ]),
        );
        dirs["spec"]["securityContext"] = json!({"fsGroup": 4321});
        dirs["spec"]["containers"][0]["env"] =
            json!([{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]);
        dirs["spec"]["containers"][0]["resources"] = json!({"limits": {"memory": "64Mi"}});
        let reader = json!({
            "name": "reader", "image": BUSYBOX, "command": ["sleep", "100000"],
            "volumeMounts": [{"name": "disk", "mountPath": "/elsewhere", "readOnly": true}],
        });
        dirs["spec"]["containers"].as_array_mut().unwrap().push(reader);
        let mut limited = files;
        limited["spec"]["containers"][0]["resources"] = json!({"limits": {"memory": "64Mi"}});
        apply(cluster, &[limited, dirs]).await;

        let log = looked(cluster, "files").await;
        lines(
            &log,
            &[
                "one", "some 400", "secret tmpfs", "password 440", "me", "app=\"volumes\"", "tier=\"a.b\"", "files", "64",
                "first", "default", "projected tmpfs", "two",
            ],
        );
        assert!(log.contains("..data -> ..2"), "{log}");
        assert!(log.contains("a.conf -> ..data/a.conf"), "{log}");
        assert!(log.contains("/map/x: Read-only file system") && log.contains("/secret/x: Read-only file system"), "{log}");

        cluster.wait_ready("dirs", LIMIT).await.unwrap();
        let look = || async {
            let log = cluster.kubectl_ok(&["logs", "dirs", "-c", "c"]).await.unwrap_or_default();
            if log.ends_with("looked\n") { Look::There(log) } else { Look::NotYet(log) }
        };
        let log = wait::until("dirs to have looked", LIMIT, look).await.unwrap();
        lines(
            &log,
            &["disk 2777", "memory tmpfs", "size 1024", "of the node", "/made", "group 4321 2777", "mine 4321"],
        );
        assert!(log.lines().any(|line| line.starts_with("groups=") && line.contains("4321")), "{log}");
        let disk = directory(cluster, "dirs").await.join("volumes/kubernetes.io~empty-dir/disk");
        for (path, content) in [("word", "shared\n"), ("deep/part/x", "part\n"), ("dirs-$(POD)/x", "named\n")] {
            assert_eq!(std::fs::read_to_string(disk.join(path)).unwrap(), content, "{path}");
        }
        let seen = cluster.kubectl_ok(&["exec", "dirs", "-c", "reader", "--", "cat", "/elsewhere/word"]).await.unwrap();
        assert_eq!(seen, "shared\n");
        let written =
            cluster.kubectl(&["exec", "dirs", "-c", "reader", "--", "touch", "/elsewhere/y"]).await.unwrap();
        assert!(!written.success(), "a mount that is read-only was written to");

        delete_all(cluster, &["files", "dirs"]).await;
        nothing_is_left(cluster).await;
        assert_eq!(std::fs::read_to_string(host("dir/file")).unwrap(), "of the node\n");
        assert!(std::path::Path::new(&host("made/here")).is_dir(), "a path of the node goes with no pod");
    })
    .await;
}

/// The words of a file, once they are `wanted`.
async fn becomes(path: &std::path::Path, wanted: &str) -> Duration {
    let begun = Instant::now();
    let look = || async {
        match std::fs::read_to_string(path) {
            Ok(text) if text == wanted => Look::There(()),
            other => Look::NotYet(format!("{other:?}")),
        }
    };
    wait::until(&format!("{} to become {wanted:?}", path.display()), LIMIT, look).await.unwrap();
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_reach_the_files_at_once_and_also_after_a_restart_which_keeps_all_mounts() {
    scenario(ClusterOptions::for_test("volumes-changes").unwrap(), async |cluster| {
        apply(
            cluster,
            &[
                config_map("settings", &json!({"word": "one"})),
                secret("keys", &json!({"word": "one"})),
                pod(
                    "changes",
                    "",
                    &json!([
                        {"name": "map", "mountPath": "/map"}, {"name": "secret", "mountPath": "/secret"}, {"name": "all", "mountPath": "/all"},
                        {"name": "down", "mountPath": "/down"}, {"name": "map", "mountPath": "/fixed", "subPath": "word"},
                    ]),
                    &json!([
                        {"name": "map", "configMap": {"name": "settings"}}, {"name": "secret", "secret": {"secretName": "keys"}},
                        {"name": "all", "projected": {"sources": [{"configMap": {"name": "settings"}}]}},
                        {"name": "down", "downwardAPI": {"items": [{"path": "note", "fieldRef": {"fieldPath": "metadata.annotations['note']"}}]}},
                    ]),
                ),
            ],
        )
        .await;
        let before = cluster.wait_ready("changes", LIMIT).await.unwrap();
        let volumes = directory(cluster, "changes").await.join("volumes");
        let files = ["kubernetes.io~configmap/map/word", "kubernetes.io~secret/secret/word", "kubernetes.io~projected/all/word"];
        let change = async |word: &str| {
            let objects =
                [config_map("settings", &json!({"word": word})), secret("keys", &json!({"word": word}))];
            apply(cluster, &objects).await;
            cluster.kubectl_ok(&["annotate", "--overwrite", "pod", "changes", &format!("note={word}")]).await.unwrap();
            for file in files {
                let took = becomes(&volumes.join(file), word).await;
                // A kubelet looks once a minute: what comes in seconds came by an event.
                assert!(took < Duration::from_secs(10), "{file} took {took:?}");
            }
            becomes(&volumes.join("kubernetes.io~downward-api/down/note"), word).await;
            for path in ["/map/word", "/secret/word", "/all/word", "/down/note"] {
                let seen = cluster.kubectl_ok(&["exec", "changes", "--", "cat", path]).await.unwrap();
                assert_eq!(seen, word, "{path}");
            }
            let fixed = cluster.kubectl_ok(&["exec", "changes", "--", "cat", "/fixed"]).await.unwrap();
            assert_eq!(fixed, "one", "a part of a volume never changes (behaviour.md 20.8)");
        };
        change("two").await;
        let inode = |file: &str| std::fs::metadata(volumes.join(file)).unwrap().ino();
        let inodes: Vec<u64> = files.iter().map(|file| inode(file)).collect();
        let mounts = mounted(cluster);
        assert!(mounts.len() >= 4, "two tmpfs for files, one for the projected and one part: {mounts:?}");

        cluster.node(0).kill().await.unwrap();
        change("three").await;
        assert_eq!(mounted(cluster), mounts, "a restart of the daemon changes no mount");
        assert!(files.iter().zip(&inodes).all(|(file, before)| inode(file) != *before));
        let after = read(cluster, "changes").await;
        let id = |pod: &Pod| pod.status.as_ref().unwrap().container_statuses.as_ref().unwrap()[0].container_id.clone();
        assert_eq!(id(&after), id(&before));

        // What is equal is not written again.
        let inodes: Vec<u64> = files.iter().map(|file| inode(file)).collect();
        cluster.node(0).restart().await.unwrap();
        change("three").await;
        cluster.kubectl_ok(&["annotate", "--overwrite", "pod", "changes", "note=four"]).await.unwrap();
        becomes(&volumes.join("kubernetes.io~downward-api/down/note"), "four").await;
        assert_eq!(files.iter().map(|file| inode(file)).collect::<Vec<_>>(), inodes);

        delete_all(cluster, &["changes"]).await;
        nothing_is_left(cluster).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_told_in_a_kubelets_words_and_its_appearance_starts_the_pod() {
    scenario(ClusterOptions::for_test("volumes-missing").unwrap(), async |cluster| {
        let host = cluster.node(0).dir().join("host");
        std::fs::create_dir_all(&host).unwrap();
        let path = host.join("late").display().to_string();
        let mount = json!([{"name": "v", "mountPath": "/v"}]);
        let with = |name: &str, volume: Value| {
            let mut volume = volume;
            volume["name"] = json!("v");
            pod(name, "", &mount, &json!([volume]))
        };
        apply(
            cluster,
            &[
                config_map("partly", &json!({"there": "x"})),
                with("no-map", json!({"configMap": {"name": "late"}})),
                with("no-secret", json!({"secret": {"secretName": "late"}})),
                with("no-key", json!({"configMap": {"name": "partly", "items": [{"key": "gone", "path": "p"}]}})),
                with("no-path", json!({"hostPath": {"path": path, "type": "Directory"}})),
                with("no-two", json!({"projected": {"sources": [{"configMap": {"name": "late"}}, {"secret": {"name": "late"}}]}})),
                with("no-csi", json!({"csi": {"driver": "absent.example.com"}})),
            ],
        )
        .await;
        let failed = |what: &str| format!("MountVolume.SetUp failed for volume \"v\" : {what}");
        for (pod, what) in [
            ("no-map", "configmap \"late\" not found".to_owned()),
            ("no-secret", "secret \"late\" not found".to_owned()),
            ("no-key", "configmap references non-existent config key: gone".to_owned()),
            ("no-path", format!("hostPath type check failed: {path} is not a directory")),
            ("no-two", "[configmap \"late\" not found, secret \"late\" not found]".to_owned()),
        ] {
            let events = told(cluster, pod, &failed(&what)).await;
            assert!(events.contains("FailedMount"), "{events}");
            // The event may be there before the first status is.
            let look = || async {
                let status = read(cluster, pod).await.status.unwrap_or_default();
                let Some(containers) = status.container_statuses else {
                    return Look::NotYet("without a status".to_owned());
                };
                let waiting = containers[0].state.clone().unwrap().waiting.unwrap();
                Look::There(waiting.reason)
            };
            let reason = wait::until(&format!("the status of {pod}"), LIMIT, look).await.unwrap();
            assert_eq!(reason.as_deref(), Some("ContainerCreating"), "{pod}");
        }
        told(cluster, "no-csi", "spec.volumes[0].csi").await;

        std::fs::create_dir(host.join("late")).unwrap();
        apply(
            cluster,
            &[
                config_map("late", &json!({"a": "x"})),
                config_map("partly", &json!({"there": "x", "gone": "y"})),
                secret("late", &json!({"b": "x"})),
            ],
        )
        .await;
        let begun = Instant::now();
        for pod in ["no-map", "no-secret", "no-key", "no-two"] {
            cluster.wait_ready(pod, LIMIT).await.unwrap();
        }
        println!("all are ready {:?} after what was missing came", begun.elapsed());
        // Nobody tells of a directory: it is looked for again after a while.
        cluster.wait_ready("no-path", LIMIT).await.unwrap();
        delete_all(cluster, &["no-map", "no-secret", "no-key", "no-path", "no-two", "no-csi"]).await;
        nothing_is_left(cluster).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_or_read_only_is_told_and_pods_start_once_it_is_mended() {
    scenario(ClusterOptions::for_test("volumes-disk").unwrap(), async |cluster| {
        // A disk of its own below the pods' directory, part of which somebody else fills.
        let disk = cluster.node(0).dir().join("disk");
        let pods = cluster.node(0).dir().join("root/pods");
        std::fs::create_dir_all(&disk).unwrap();
        mount(Some("small"), &disk, Some("tmpfs"), MsFlags::empty(), Some("size=1m,mode=0755")).unwrap();
        std::fs::create_dir(disk.join("pods")).unwrap();
        mount(Some(&disk.join("pods")), &pods, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
        let read_only = |flags: MsFlags| {
            let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | flags;
            mount(None::<&str>, &pods, None::<&str>, flags, None::<&str>).unwrap();
        };
        let at = json!([{"name": "v", "mountPath": "/v"}]);
        let volumes = json!([{"name": "v", "configMap": {"name": "big"}}]);
        apply(cluster, &[config_map("big", &json!({"text": "x".repeat(200_000)}))]).await;

        std::fs::write(disk.join("filler"), "y".repeat(2 << 20)).unwrap_err();
        apply(cluster, &[pod("full", "wc -c < /v/text", &at, &volumes)]).await;
        let events = told(cluster, "full", "No space left on device").await;
        assert!(events.contains("FailedMount") && events.contains("for volume \"v\""), "{events}");
        std::fs::remove_file(disk.join("filler")).unwrap();
        lines(&looked(cluster, "full").await, &["200000"]);
        delete_all(cluster, &["full"]).await;

        read_only(MsFlags::MS_RDONLY);
        apply(cluster, &[pod("fixed", "wc -c < /v/text", &at, &volumes)]).await;
        let events = told(cluster, "fixed", "Read-only file system").await;
        let wanted = "error making pod data directories: ";
        assert!(events.contains("FailedToMakePodDataDirectories") && events.contains(wanted), "{events}");
        read_only(MsFlags::empty());
        lines(&looked(cluster, "fixed").await, &["200000"]);
        delete_all(cluster, &["fixed"]).await;

        cluster.node(0).stop().await.unwrap();
        umount2(&pods, MntFlags::empty()).unwrap();
        umount2(&disk, MntFlags::empty()).unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_of_pods_that_went_while_the_daemon_was_away_are_cleared_and_nothing_outside_of_them() {
    scenario(ClusterOptions::for_test("volumes-orphans").unwrap(), async |cluster| {
        let host = cluster.node(0).dir().join("host");
        std::fs::create_dir_all(&host).unwrap();
        std::fs::write(host.join("kept"), "x").unwrap();
        apply(
            cluster,
            &[
                secret("keys", &json!({"word": "one"})),
                pod(
                    "orphan",
                    &format!("ln -s {} /data/link; ln -s / /data/root; mkdir -p /data/part/a; echo x > /data/part/a/b", host.display()),
                    &json!([
                        {"name": "data", "mountPath": "/data"}, {"name": "keys", "mountPath": "/keys"}, {"name": "memory", "mountPath": "/memory"},
                        {"name": "host", "mountPath": "/host"}, {"name": "data", "mountPath": "/sub", "subPath": "sub"},
                        {"name": "host", "mountPath": "/hostsub", "subPath": "part"},
                    ]),
                    &json!([
                        {"name": "data", "emptyDir": {}}, {"name": "keys", "secret": {"secretName": "keys"}},
                        {"name": "memory", "emptyDir": {"medium": "Memory"}}, {"name": "host", "hostPath": {"path": host.display().to_string()}},
                    ]),
                ),
            ],
        )
        .await;
        looked(cluster, "orphan").await;
        assert!(mounted(cluster).len() >= 4);
        cluster.node(0).stop().await.unwrap();
        cluster.kubectl_ok(&["delete", "pod", "orphan", "--force", "--grace-period=0"]).await.unwrap();
        cluster.node(0).start().await.unwrap();
        nothing_is_left(cluster).await;
        assert_eq!(std::fs::read_to_string(host.join("kept")).unwrap(), "x");
        assert!(host.join("part").is_dir());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_volume_leads_nowhere_else_and_mounts_are_seen_on_both_sides_where_that_is_asked() {
    scenario(ClusterOptions::for_test("volumes-parts").unwrap(), async |cluster| {
        let escape = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "escape"},
            "spec": {
                "terminationGracePeriodSeconds": 1, "restartPolicy": "Always",
                "initContainers": [{
                    "name": "trap", "image": BUSYBOX, "command": ["sh", "-c", "ln -s /etc /data/out; ln -s inner /data/in; mkdir /data/inner"],
                    "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                }],
                "containers": [
                    {"name": "in", "image": BUSYBOX, "command": ["sleep", "100000"],
                     "volumeMounts": [{"name": "data", "mountPath": "/x", "subPath": "in"}]},
                    {"name": "out", "image": BUSYBOX, "command": ["sleep", "100000"],
                     "volumeMounts": [{"name": "data", "mountPath": "/x", "subPath": "out"}]},
                    {"name": "absent", "image": BUSYBOX, "command": ["sleep", "100000"],
                     "volumeMounts": [{"name": "data", "mountPath": "/x", "subPathExpr": "$(NOWHERE)"}]},
                ],
                "volumes": [{"name": "data", "emptyDir": {}}],
            },
        });
        apply(cluster, &[escape]).await;
        told(cluster, "escape", "failed to prepare subPath for volumeMount \"data\" of container \"out\"").await;
        told(cluster, "escape", "missing value for NOWHERE").await;
        let pod = cluster
            .wait_for_pod("escape", "one running, two refused", LIMIT, |pod| {
                let all = pod.status.as_ref().and_then(|s| s.container_statuses.as_deref()).unwrap_or_default();
                let reason = |name: &str| {
                    let state = all.iter().find(|s| s.name == name).and_then(|s| s.state.clone());
                    state.and_then(|s| s.waiting).and_then(|w| w.reason)
                };
                let refused = Some("CreateContainerConfigError".to_owned());
                all.iter().any(|s| s.name == "in" && s.ready) && reason("out") == refused && reason("absent") == refused
            })
            .await
            .unwrap();
        assert_eq!(pod.metadata.name.as_deref(), Some("escape"));
        delete_all(cluster, &["escape"]).await;
        nothing_is_left(cluster).await;
    })
    .await;
}
