use std::sync::Mutex;

use answering::Server;

use super::*;

/// A server that answers every request with what it was told last, and remembers one header.
mod answering {
    use super::*;
    use http_body_util::Full;
    use hyper::body::Bytes;
    use hyper_util::rt::TokioIo;
    use tokio::net::TcpListener;

    #[derive(Clone, Default)]
    pub(super) struct Server {
        pub(super) answer: Arc<Mutex<(u16, String)>>,
        pub(super) seen: Arc<Mutex<Vec<String>>>,
        /// Counts the requests.
        pub(super) asked: Arc<watch::Sender<u64>>,
    }

    impl Server {
        pub(super) fn says(&self, code: u16, text: impl Into<String>) {
            *self.answer.lock().expect("no panic") = (code, text.into());
        }

        /// Two more requests: the answer to the first of them was acted upon when the second one comes.
        pub(super) async fn twice_asked(&self) {
            let mut asked = self.asked.subscribe();
            let before = *asked.borrow_and_update();
            asked.wait_for(|count| *count >= before + 2).await.expect("the server lives");
        }

        pub(super) async fn start(&self) -> String {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let url = format!("http://{}/pods?node=n", listener.local_addr().expect("an address"));
            let server = self.clone();
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let server = server.clone();
                    let service =
                        hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
                            let values = request.headers().get_all("x-key").iter();
                            let values = values.map(|v| v.to_str().expect("text").to_owned());
                            *server.seen.lock().expect("no panic") = values.collect();
                            server.asked.send_modify(|count| *count += 1);
                            let (code, text) = server.answer.lock().expect("no panic").clone();
                            let answer =
                                http::Response::builder().status(code).body(Full::new(Bytes::from(text)));
                            async move { answer }
                        });
                    let connection = hyper::server::conn::http1::Builder::new();
                    tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
                }
            });
            url
        }
    }
}

fn manifest(name: &str, image: &str) -> Value {
    serde_json::json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
        "spec": { "containers": [{ "name": "c", "image": image }] },
    })
}

async fn listed(updates: &mut mpsc::Receiver<Update>) -> Vec<Arc<Pod>> {
    match timeout(Duration::from_secs(20), updates.recv()).await {
        Ok(Some(Update::Listed { source: Source::Http, pods })) => pods,
        other => panic!("{other:?}"),
    }
}

fn names(pods: &[Arc<Pod>]) -> Vec<&str> {
    pods.iter().filter_map(|pod| pod.metadata.name.as_deref()).collect()
}

#[tokio::test]
async fn what_the_url_says_are_the_pods_and_what_it_fails_to_say_changes_nothing() {
    let server = Server::default();
    server.says(500, "not yet");
    let source = UrlSource {
        url: server.start().await,
        headers: BTreeMap::from([("X-Key".to_owned(), vec!["one".to_owned(), "two".to_owned()])]),
        check_frequency: Duration::from_millis(20),
        node_name: "Node-1".to_owned(),
        refuse_references: true,
    };
    let (sender, mut updates) = mpsc::channel(8);
    let (_stop, stopped) = watch::channel(false);
    tokio::spawn(run(source, sender, Mirrors::new(), stopped));

    server.says(200, manifest("a", "img:1").to_string());
    let first = listed(&mut updates).await;
    assert_eq!(names(&first), ["a-node-1"]);
    assert_eq!(*server.seen.lock().expect("no panic"), ["one", "two"]);
    assert_eq!(super::super::annotation(&first[0], super::super::CONFIG_SOURCE), Some("http"));
    assert!(first[0].spec.as_ref().and_then(|s| s.tolerations.as_ref()).is_none(), "only files bring one");

    // Errors, nonsense and the same answer again are no news: the next update is the list.
    for (code, text) in
        [(503, String::new()), (200, "{".to_owned()), (200, manifest("a", "img:1").to_string())]
    {
        server.says(code, text);
        server.twice_asked().await;
    }
    let list = serde_json::json!({
        "apiVersion": "v1", "kind": "PodList", "items": [manifest("a", "img:2"), manifest("b", "img:1")],
    });
    server.says(200, list.to_string());
    let second = listed(&mut updates).await;
    assert_eq!(names(&second), ["a-node-1", "b-node-1"]);
    assert_ne!(first[0].metadata.uid, second[0].metadata.uid);

    server.says(200, "");
    assert!(listed(&mut updates).await.is_empty(), "an empty answer is no pods");
}
