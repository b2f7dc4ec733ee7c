//! Messages that the application does not want any more: they keep nobody waiting.

use core::time::Duration;

use motews_testkit::frame;
use motews_tokio::CloseCode;
use tokio::time::{sleep, timeout};

use crate::support::{payload, server};

/// A message alone may fill the room for what is received, at 1 MiB.
const LENS: [usize; 2] = [900_000, 2 << 20];

#[tokio::test(start_paused = true)]
async fn close_behind_a_message_that_alone_fills_the_room_is_read_by_closed() {
    for len in LENS {
        for closes in [true, false] {
            let (mut ws, mut peer) = server(1 << 16);
            tokio::spawn(async move {
                peer.write(&[frame::binary(payload(len))]).await;
                sleep(Duration::from_millis(100)).await;
                peer.finish().await;
            });
            if closes {
                ws.close(CloseCode::NORMAL, "").unwrap();
            }
            let ended = timeout(Duration::from_secs(10), ws.closed()).await;
            assert!(ended.unwrap().is_clean(), "{len} {closes}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn sender_whose_receiver_is_dropped_reads_behind_a_message_that_alone_fills_the_room() {
    for len in LENS {
        let (ws, mut peer) = server(1 << 16);
        let (sender, receiver) = ws.split();
        drop(receiver);
        // It reads only when it has written everything.
        let peer = tokio::spawn(async move {
            peer.write(&[frame::binary(payload(len))]).await;
            sleep(Duration::from_millis(10)).await;
            peer.write(&[frame::binary(payload(200_000))]).await;
            peer.read().await
        });
        let sent = timeout(Duration::from_secs(10), sender.send(payload(400_000)));
        sent.await.unwrap().unwrap();
        assert_eq!(
            peer.await.unwrap(),
            Some(frame::binary(payload(400_000))),
            "{len}"
        );
    }
}

/// The room that a receiver makes is the room of whoever waits to send, and reads meanwhile.
#[tokio::test(start_paused = true)]
async fn sender_goes_on_when_the_receiver_has_made_room_or_is_dropped() {
    for drops in [true, false] {
        let (ws, mut peer) = server(1 << 16);
        let (sender, mut receiver) = ws.split();
        // It reads only when it has written everything, some 1.3 MB.
        let peer = tokio::spawn(async move {
            peer.write(&vec![frame::binary(payload(1024)); 1300]).await;
            peer.read().await
        });
        let sending = tokio::spawn(async move { sender.send(payload(400_000)).await });
        sleep(Duration::from_millis(500)).await;
        assert!(!sending.is_finished());
        let receiver = if drops {
            drop(receiver);
            None
        } else {
            for _ in 0..600 {
                receiver.recv().await.unwrap().unwrap();
            }
            Some(receiver)
        };
        let sent = timeout(Duration::from_secs(10), sending).await;
        sent.unwrap().unwrap().unwrap();
        assert_eq!(peer.await.unwrap(), Some(frame::binary(payload(400_000))));
        drop(receiver);
    }
}
