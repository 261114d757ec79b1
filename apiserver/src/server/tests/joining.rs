//! A node that joins with a bootstrap token: from the token to its own certificates.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::config::AuthInfo;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

use super::*;

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const SECRETS: &str = "/api/v1/namespaces/kube-system/secrets";
const TOKEN: &str = "abcdef.0123456789abcdef";
const CLUSTER_INFO: &str = "/api/v1/namespaces/kube-public/configmaps/cluster-info";

fn token(expiration: &str) -> Value {
    let (id, secret) = TOKEN.split_once('.').unwrap();
    let mut entries = json!({
        "token-id": id,
        "token-secret": secret,
        "usage-bootstrap-authentication": "true",
        "usage-bootstrap-signing": "true",
        "auth-extra-groups": "system:bootstrappers:kubeadm:default-node-token",
    });
    if !expiration.is_empty() {
        entries["expiration"] = expiration.into();
    }
    json!({
        "metadata": { "name": "bootstrap-token-abcdef" },
        "type": "bootstrap.kubernetes.io/token",
        "stringData": entries,
    })
}

async fn client_with(world: &World, auth: AuthInfo) -> Client {
    let admin = world.server.as_ref().unwrap().admin_kubeconfig();
    client_of(&admin, |config| config.auth_info = auth).await
}

async fn with_token(world: &World) -> Client {
    client_with(world, AuthInfo { token: Some(TOKEN.to_owned().into()), ..AuthInfo::default() }).await
}

/// A request and the key that it is for.
fn csr(signer: &str, adjust: impl FnOnce(&mut CertificateParams)) -> (Value, KeyPair) {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::OrganizationName, "system:nodes");
    parameters.distinguished_name.push(DnType::CommonName, "system:node:n1");
    adjust(&mut parameters);
    let key = KeyPair::generate().unwrap();
    let pem = parameters.serialize_request(&key).unwrap().pem().unwrap();
    let purpose = if signer == "kubelet-serving" { "server auth" } else { "client auth" };
    let object = json!({
        "metadata": { "generateName": "node-csr-" },
        "spec": {
            "request": STANDARD.encode(pem),
            "signerName": format!("kubernetes.io/{signer}"),
            "usages": ["digital signature", purpose],
        },
    });
    (object, key)
}

async fn post(client: &Client, path: &str, object: &Value) -> Reply {
    send(client, request(Method::POST, path, "application/json", &object.to_string())).await
}

async fn get(client: &Client, path: &str) -> Reply {
    send(client, request(Method::GET, path, "", "")).await
}

/// Waits until an object is as `done` says.
async fn eventually(client: &Client, path: &str, done: impl Fn(&Reply) -> bool) -> Reply {
    let mut waited = Duration::ZERO;
    loop {
        let reply = get(client, path).await;
        if done(&reply) {
            return reply;
        }
        assert!(waited < PATIENCE, "{reply:?}");
        waited += Duration::from_millis(20);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Makes a request and waits for its certificate, which it gives with the request.
async fn signed(client: &Client, object: &Value) -> (String, Value) {
    let made = post(client, REQUESTS, object).await.expect(201);
    let path = format!("{REQUESTS}/{}", made.metadata("name"));
    let issued = eventually(client, &path, |r| r.body["status"]["certificate"].is_string()).await.body;
    let pem = STANDARD.decode(issued["status"]["certificate"].as_str().unwrap()).unwrap();
    (String::from_utf8(pem).unwrap(), issued)
}

async fn as_node(world: &World, certificate: &str, key: &KeyPair) -> Client {
    let auth = AuthInfo {
        client_certificate_data: Some(STANDARD.encode(certificate)),
        client_key_data: Some(STANDARD.encode(key.serialize_pem()).into()),
        ..AuthInfo::default()
    };
    client_with(world, auth).await
}

#[tokio::test]
async fn a_token_gets_a_client_certificate_and_the_certificate_its_successor() {
    let world = World::start_with(Limits::default(), |options, _| {
        options.cluster_signing_duration = Duration::from_secs(180);
    })
    .await;
    world.post(SECRETS, &token("")).await.expect(201);
    let joining = with_token(&world).await;
    get(&joining, "/api/v1/nodes").await.expect(403);
    let (object, key) = csr("kube-apiserver-client-kubelet", |_| ());
    let (pem, issued) = signed(&joining, &object).await;
    assert_eq!(issued["spec"]["username"], "system:bootstrap:abcdef");
    assert!(issued["spec"]["groups"].as_array().unwrap().contains(&"system:bootstrappers".into()));
    let approved = &issued["status"]["conditions"][0];
    assert_eq!((&approved["type"], &approved["reason"]), (&json!("Approved"), &json!("AutoApproved")));
    assert_eq!(approved["message"], "Auto approving kubelet client certificate after SubjectAccessReview.");
    let end = crate::pki::signing::end_of(&pem).unwrap();
    assert!((end.as_second() - jiff::Timestamp::now().as_second() - 180).abs() < 60, "{end}");

    let node = as_node(&world, &pem, &key).await;
    let object = json!({ "metadata": { "name": "n1" } });
    post(&node, "/api/v1/nodes", &object).await.expect(201);
    post(&node, "/api/v1/nodes", &json!({ "metadata": { "name": "n2" } })).await.expect(403);
    for map in ["kubeadm-config", "kubelet-config"] {
        get(&node, &format!("/api/v1/namespaces/kube-system/configmaps/{map}")).await.expect(200);
    }
    let (object, _) = csr("kube-apiserver-client-kubelet", |_| ());
    let (_, renewed) = signed(&node, &object).await;
    assert_eq!(
        renewed["status"]["conditions"][0]["message"],
        "Auto approving self kubelet client certificate after SubjectAccessReview."
    );
}

#[tokio::test]
async fn a_serving_certificate_is_for_the_nodes_own_addresses() {
    let world = World::start().await;
    let node = world.client_as("system:node:n1", "system:nodes").await;
    let addresses =
        json!([{ "type": "InternalIP", "address": "192.0.2.1" }, { "type": "Hostname", "address": "n1" }]);
    let object = json!({ "metadata": { "name": "n1" }, "status": { "addresses": addresses } });
    let serving = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        csr("kubelet-serving", |p| {
            p.subject_alt_names = names
                .iter()
                .map(|n| match n.parse() {
                    Ok(address) => SanType::IpAddress(address),
                    Err(_) => SanType::DnsName(n.as_str().try_into().unwrap()),
                })
                .collect();
        })
        .0
    };
    // Asked for before the node is there: approved when it is.
    let early = post(&node, REQUESTS, &serving(&["n1", "192.0.2.1"])).await.expect(201);
    let wrong = post(&node, REQUESTS, &serving(&["n1", "192.0.2.2"])).await.expect(201);
    post(&node, "/api/v1/nodes", &object).await.expect(201);
    let path = format!("{REQUESTS}/{}", early.metadata("name"));
    eventually(&node, &path, |r| r.body["status"]["certificate"].is_string()).await;
    let path = format!("{REQUESTS}/{}", wrong.metadata("name"));
    let pending = get(&node, &path).await.expect(200);
    assert_eq!(pending.body["status"], json!({}), "the same pass has looked at it");
    // The administrator asks for another's: pending too, and not for ever of his own making.
    let other = world.post(REQUESTS, &serving(&["n1"])).await.expect(201);
    let (_, _) = signed(&node, &serving(&["n1"])).await;
    let path = format!("{REQUESTS}/{}", other.metadata("name"));
    assert_eq!(world.get(&path).await.expect(200).body["status"], json!({}));
}

#[tokio::test]
async fn a_person_approves_or_denies_with_a_right_on_the_signer() {
    let world = World::start().await;
    let joining = {
        world.post(SECRETS, &token("")).await.expect(201);
        with_token(&world).await
    };
    let user = |p: &mut CertificateParams| {
        p.distinguished_name = DistinguishedName::new();
        p.distinguished_name.push(DnType::CommonName, "carol");
        p.distinguished_name.push(DnType::OrganizationName, "dev");
    };
    let (object, key) = csr("kube-apiserver-client", user);
    let made = post(&joining, REQUESTS, &object).await.expect(201);
    let path = format!("{REQUESTS}/{}", made.metadata("name"));
    let mut decided = made.body.clone();
    decided["status"]["conditions"] = json!([{ "type": "Approved", "status": "True", "reason": "r" }]);
    let approval = format!("{path}/approval");
    let put = |object: &Value| request(Method::PUT, &approval, "application/json", &object.to_string());
    // He may update approvals, but not for this signer.
    let bob = world.client_as("bob", "dev").await;
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let rule = json!({ "verbs": ["update"], "apiGroups": ["certificates.k8s.io"], "resources": ["certificatesigningrequests/approval"] });
    world
        .post(&format!("{rbac}/clusterroles"), &json!({ "metadata": { "name": "a" }, "rules": [rule] }))
        .await
        .expect(201);
    let bind = |role: &str| {
        json!({
            "metadata": { "generateName": "b-" },
            "roleRef": { "kind": "ClusterRole", "name": role },
            "subjects": [{ "kind": "User", "name": "bob" }],
        })
    };
    world.post(&format!("{rbac}/clusterrolebindings"), &bind("a")).await.expect(201);
    let refused = send(&bob, put(&decided)).await.expect(403);
    assert!(
        refused.message().contains(
            "user not permitted to approve requests with signerName \"kubernetes.io/kube-apiserver-client\""
        ),
        "{refused:?}"
    );
    let approver = "system:certificates.k8s.io:kube-apiserver-client-approver";
    world.post(&format!("{rbac}/clusterrolebindings"), &bind(approver)).await.expect(201);
    send(&bob, put(&decided)).await.expect(200);
    let issued = eventually(&world.client, &path, |r| r.body["status"]["certificate"].is_string()).await.body;
    let pem = STANDARD.decode(issued["status"]["certificate"].as_str().unwrap()).unwrap();
    let carol = as_node(&world, std::str::from_utf8(&pem).unwrap(), &key).await;
    let refused = get(&carol, PODS).await.expect(403);
    assert!(refused.message().contains("User \"carol\" cannot list"), "{refused:?}");
    let table = world
        .send(
            Request::get(&path)
                .header("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
                .body(Body::empty())
                .unwrap(),
        )
        .await
        .expect(200);
    let cells = &table.body["rows"][0]["cells"];
    assert_eq!(
        (&cells[2], &cells[3], &cells[4], &cells[5]),
        (
            &json!("kubernetes.io/kube-apiserver-client"),
            &json!("system:bootstrap:abcdef"),
            &json!("<none>"),
            &json!("Approved,Issued")
        )
    );
    // Nobody becomes an administrator in this way.
    let (masters, _) = csr("kube-apiserver-client", |p| {
        p.distinguished_name.push(DnType::OrganizationName, "system:masters");
    });
    post(&joining, REQUESTS, &masters).await.expect(403);
    // A form that the signer does not take is told in the request.
    let (odd, _) = csr("kube-apiserver-client-kubelet", |p| {
        p.subject_alt_names = vec![SanType::DnsName("n".try_into().unwrap())];
    });
    let made = post(&joining, REQUESTS, &odd).await.expect(201);
    let path = format!("{REQUESTS}/{}", made.metadata("name"));
    let mut decided = made.body.clone();
    decided["status"]["conditions"] = json!([{ "type": "Approved", "status": "True", "reason": "r" }]);
    world.put(&format!("{path}/approval"), &decided).await.expect(200);
    let failed =
        eventually(&world.client, &path, |r| r.body["status"]["conditions"][1]["type"] == "Failed").await;
    assert_eq!(failed.body["status"]["conditions"][1]["message"], "DNS subjectAltNames are not allowed");
}

#[tokio::test]
async fn everybody_may_read_cluster_info_and_nothing_else() {
    let world = World::start().await;
    let anonymous = client_with(&world, AuthInfo::default()).await;
    let info = eventually(&anonymous, CLUSTER_INFO, |r| r.code == 200).await.body;
    let server = world.server.as_ref().unwrap().address();
    let kubeconfig: Value = serde_saphyr::from_str(info["data"]["kubeconfig"].as_str().unwrap()).unwrap();
    assert_eq!(kubeconfig["clusters"][0]["cluster"]["server"], format!("https://{server}"));
    assert_eq!(info["data"].get("jws-kubeconfig-abcdef"), None);
    world.post(SECRETS, &token("")).await.expect(201);
    eventually(&anonymous, CLUSTER_INFO, |r| r.body["data"]["jws-kubeconfig-abcdef"].is_string()).await;
    // A changed content is signed anew, a deleted map comes again, a deleted token signs no more.
    let signature = |reply: &Reply| reply.body["data"]["jws-kubeconfig-abcdef"].clone();
    let before = signature(&get(&anonymous, CLUSTER_INFO).await);
    let patch = json!({ "data": { "kubeconfig": "other" } });
    world.patch(CLUSTER_INFO, "merge", &patch).await.expect(200);
    eventually(&anonymous, CLUSTER_INFO, |r| signature(r).is_string() && signature(r) != before).await;
    world.delete(CLUSTER_INFO, &json!({})).await.expect(200);
    eventually(&anonymous, CLUSTER_INFO, |r| signature(r) == before).await;
    world.delete(&format!("{SECRETS}/bootstrap-token-abcdef"), &json!({})).await.expect(200);
    eventually(&anonymous, CLUSTER_INFO, |r| r.code == 200 && signature(r).is_null()).await;
    for path in ["/healthz", "/livez", "/readyz", "/version"] {
        get(&anonymous, path).await.expect(200);
    }
    for path in [
        "/",
        "/api",
        "/apis",
        "/metrics",
        "/api/v1/namespaces/kube-public/configmaps",
        "/api/v1/namespaces/kube-public/configmaps/other",
    ] {
        get(&anonymous, path).await.expect(403);
    }
}

#[tokio::test]
async fn an_expired_token_is_refused_and_removed() {
    let world = World::start().await;
    let joining = with_token(&world).await;
    get(&joining, REQUESTS).await.expect(401);
    let soon = jiff::Timestamp::now() + Duration::from_secs(3);
    world.post(SECRETS, &token(&soon.to_string())).await.expect(201);
    get(&joining, REQUESTS).await.expect(200);
    let review = json!({ "spec": { "token": TOKEN } });
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    let told = world.post(reviews, &review).await.expect(201);
    assert_eq!(told.body["status"]["user"]["username"], "system:bootstrap:abcdef");
    eventually(&joining, REQUESTS, |r| r.code == 401).await;
    let path = format!("{SECRETS}/bootstrap-token-abcdef");
    eventually(&world.client, &path, |r| r.code == 404).await;
    let told = world.post(reviews, &review).await.expect(201);
    assert_eq!(told.body["status"].get("authenticated"), None);
    let never =
        eventually(&world.client, CLUSTER_INFO, |r| r.body["data"]["jws-kubeconfig-abcdef"].is_null()).await;
    assert_eq!(never.code, 200);
}

#[tokio::test]
async fn what_a_later_server_needs_is_added_to_the_roles_of_an_earlier_one() {
    let mut world = World::start().await;
    let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    let less = json!({ "rules": [{ "verbs": ["get"], "apiGroups": [""], "resources": ["extra"] }] });
    for name in ["system:node-bootstrapper", "system:auth-delegator"] {
        world.patch(&format!("{roles}/{name}"), "merge", &less).await.expect(200);
    }
    let keep =
        json!({ "metadata": { "annotations": { "rbac.authorization.kubernetes.io/autoupdate": "false" } } });
    world.patch(&format!("{roles}/system:auth-delegator"), "merge", &keep).await.expect(200);
    world.restart().await;
    let rules = async |name: &str| {
        let role = world.get(&format!("{roles}/{name}")).await.expect(200);
        role.body["rules"].as_array().unwrap().len()
    };
    assert_eq!(
        rules("system:node-bootstrapper").await,
        2,
        "what was added stays, what is missing comes back"
    );
    assert_eq!(rules("system:auth-delegator").await, 1, "one that says so is left as it is");
}
