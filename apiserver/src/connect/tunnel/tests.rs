//! Half-closes, ends and slow readers.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{BUFFER_BYTES, carry};

/// What a kernel would hold, in bytes.
const PIPE_BYTES: usize = 4096;

/// The two far ends of a tunnel, and the tunnel.
fn tunnel(stop: &CancellationToken) -> (DuplexStream, DuplexStream, JoinHandle<()>) {
    let (client, near_client) = duplex(PIPE_BYTES);
    let (backend, near_backend) = duplex(PIPE_BYTES);
    let stop = stop.clone();
    let carried = tokio::spawn(async move { carry(near_client, near_backend, &stop).await });
    (client, backend, carried)
}

#[tokio::test(start_paused = true)]
async fn who_has_said_all_still_hears_the_rest() {
    let (mut client, mut backend, carried) = tunnel(&CancellationToken::new());
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let mut heard = String::new();
    backend.read_to_string(&mut heard).await.unwrap();
    assert_eq!(heard, "question");
    // Slowly, but something moves.
    for _ in 0..4 {
        tokio::time::sleep(super::LINGER * 3 / 4).await;
        backend.write_all(b"an").await.unwrap();
    }
    drop(backend);
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "anananan");
    carried.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_says_nothing_to_who_has_left_is_left_too() {
    let (mut client, mut backend, carried) = tunnel(&CancellationToken::new());
    client.shutdown().await.unwrap();
    assert_eq!(backend.read(&mut [0; 1]).await.unwrap(), 0);
    carried.await.unwrap();
    assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_idle_tunnel_stays_until_the_server_stops() {
    let stop = CancellationToken::new();
    let (mut client, mut backend, carried) = tunnel(&stop);
    tokio::time::sleep(std::time::Duration::from_secs(5 * 60 * 60)).await;
    client.write_all(b"still").await.unwrap();
    let mut heard = [0; 5];
    backend.read_exact(&mut heard).await.unwrap();
    stop.cancel();
    carried.await.unwrap();
    assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_reads_is_not_taken() {
    let (mut client, backend, _carried) = tunnel(&CancellationToken::new());
    let mut taken = 0;
    let fill = async {
        loop {
            taken += client.write(&[0; 1024]).await.unwrap();
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(1), fill).await.unwrap_err();
    assert!(taken <= BUFFER_BYTES + 2 * PIPE_BYTES, "{taken}");
    drop(backend);
}
