//! The shop as its visitors and its operators meet it, over HTTP.

use std::collections::BTreeMap;
use std::path::Path;

use http_body_util::BodyExt;
use rusqlite::Connection;

use super::shop::Load;
use super::{Demo, DemoSite, catalog, picture, start};

struct Answer {
    status: u16,
    headers: http::HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("pages are UTF-8")
    }
}

async fn send(site: &DemoSite, request: http::request::Builder, path: &str, body: Vec<u8>) -> Answer {
    let stream = tokio::net::TcpStream::connect(site.address).await.expect("the site listens");
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.expect("speaks HTTP");
    let driver = tokio::spawn(connection);
    let body = http_body_util::Full::new(bytes::Bytes::from(body));
    let request = request.uri(path).header("host", "main.demo.localhost").body(body).expect("a valid request");
    let answer = sender.send_request(request).await.expect("answers");
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.expect("a whole body").to_bytes().to_vec();
    driver.abort();
    Answer { status: parts.status.as_u16(), headers: parts.headers, body }
}

async fn get(site: &DemoSite, path: &str) -> Answer {
    send(site, http::Request::builder(), path, Vec::new()).await
}

async fn post(site: &DemoSite, path: &str, form: &str) -> Answer {
    let request = http::Request::builder().method("POST").header("content-type", "application/x-www-form-urlencoded");
    send(site, request, path, form.as_bytes().to_vec()).await
}

async fn upload(site: &DemoSite, path: &str, content: &[u8]) -> Answer {
    let mut body =
        b"--edge\r\ncontent-disposition: form-data; name=\"picture\"; filename=\"../../a.jpg\"\r\n\r\n".to_vec();
    body.extend_from_slice(content);
    body.extend_from_slice(b"\r\n--edge--\r\n");
    let request = http::Request::builder().method("POST").header("content-type", "multipart/form-data; boundary=edge");
    send(site, request, path, body).await
}

async fn demo(data: &Path) -> Demo {
    start(data).await.expect("the demo starts in an empty folder")
}

fn count(site: &DemoSite, table: &str) -> i64 {
    let connection = Connection::open(&site.database).expect("a database");
    connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).expect("a table")
}

fn uploads(site: &DemoSite) -> BTreeMap<String, Vec<u8>> {
    let files = std::fs::read_dir(&site.uploads).expect("a folder").map(|entry| entry.expect("readable"));
    files
        .map(|file| (file.file_name().to_string_lossy().into_owned(), std::fs::read(file.path()).expect("readable")))
        .collect()
}

#[tokio::test]
async fn three_shops_open_with_data_of_their_own() {
    let data = tempfile::tempdir().expect("a folder");
    let demo = demo(data.path()).await;
    let stock: Vec<_> =
        demo.sites.iter().map(|site| (site.name, count(site, "orders"), count(site, "products"))).collect();
    assert_eq!(stock, [("main", 3000, 48), ("staging", 2200, 42), ("develop", 60, 12)]);

    let main = &demo.sites[0];
    assert_eq!(get(main, "/healthz").await.status, 200);
    let front = get(main, "/").await;
    assert_eq!(front.text().matches("class=card").count(), 48);
    assert!(front.text().contains("<dd>3,000</dd>"), "the foot counts the orders");
    let picture = get(main, "/pictures/product-01.jpg").await;
    assert_eq!(picture.headers["content-type"], "image/jpeg");
    let picture = image::load_from_memory(&picture.body).expect("a picture");
    assert_eq!((picture.width(), picture.height()), (400, 400));
    demo.stop().await;
}

#[tokio::test]
async fn a_second_start_keeps_what_visitors_did_and_the_address() {
    let data = tempfile::tempdir().expect("a folder");
    let first = demo(data.path()).await;
    post(&first.sites[2], "/products/1/reviews", "author=Ada&stars=4&body=Fine").await;
    let address = first.sites[2].address;
    let before = count(&first.sites[2], "reviews");
    first.stop().await;

    let second = demo(data.path()).await;
    assert_eq!(count(&second.sites[2], "reviews"), before);
    assert_eq!(second.sites[2].address, address);
}

#[tokio::test]
async fn a_review_is_a_row_and_its_text_is_not_markup() {
    let data = tempfile::tempdir().expect("a folder");
    let demo = demo(data.path()).await;
    let site = &demo.sites[2];
    let before = count(site, "reviews");
    let answer = post(site, "/products/3/reviews", "author=Ada&stars=5&body=%3Cscript%3Ehi%3C%2Fscript%3E").await;
    assert_eq!((answer.status, &answer.headers["location"]), (303, &"/products/3#reviews".parse().expect("valid")));
    assert_eq!(count(site, "reviews"), before + 1);
    let page = get(site, "/products/3").await;
    assert!(page.text().contains("&lt;script&gt;hi"));
    assert!(!page.text().contains("<script"));

    for (path, form, status) in [
        ("/products/3/reviews", "author=Ada&stars=6&body=x", 422),
        ("/products/3/reviews", "author=+&stars=5&body=x", 422),
        ("/products/999/reviews", "author=Ada&stars=5&body=x", 404),
    ] {
        assert_eq!(post(site, path, form).await.status, status, "{path} {form}");
    }
    assert_eq!(count(site, "reviews"), before + 1);
}

#[tokio::test]
async fn an_order_writes_its_rows() {
    let data = tempfile::tempdir().expect("a folder");
    let demo = demo(data.path()).await;
    let site = &demo.sites[2];
    let lines = count(site, "order_lines");
    let answer = post(site, "/products/2/orders", "").await;
    assert!(answer.text().contains("<strong>61</strong>"), "the number after the sixty that were there");
    assert_eq!((count(site, "orders"), count(site, "order_lines")), (61, lines + 1));
    assert_eq!(post(site, "/products/999/orders", "").await.status, 404);
}

#[tokio::test]
async fn an_upload_is_a_row_and_a_file_under_a_name_of_ours() {
    let data = tempfile::tempdir().expect("a folder");
    let demo = demo(data.path()).await;
    let site = &demo.sites[2];
    let product = &catalog::products()[30];
    let jpeg = picture::draw(product.shape, product.glaze).expect("drawn");
    let before = uploads(site);
    assert_eq!(upload(site, "/products/1/pictures", &jpeg).await.status, 303);
    let added: Vec<_> = uploads(site).into_iter().filter(|(name, _)| !before.contains_key(name)).collect();
    let [(name, content)] = &added[..] else { panic!("one file, not {}", added.len()) };
    assert!(name.starts_with("product-01-") && content == &jpeg);
    assert!(get(site, "/products/1").await.text().contains(name.as_str()));
    assert_eq!(get(site, &format!("/pictures/{name}")).await.body, jpeg);

    assert_eq!(upload(site, "/products/1/pictures", b"GIF89a").await.status, 422);
    assert_eq!(upload(site, "/products/1/pictures", b"").await.status, 422);
    assert_eq!(uploads(site).len(), before.len() + 1);
}

#[tokio::test]
async fn no_picture_is_read_from_elsewhere() {
    let data = tempfile::tempdir().expect("a folder");
    let demo = demo(data.path()).await;
    for path in ["/pictures/..%2Fshop.db", "/pictures/..%2F..%2Fx.jpg", "/pictures/load.txt", "/pictures/.jpg"] {
        assert_eq!(get(&demo.sites[2], path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn an_emptied_shop_serves_on_and_comes_back_with_its_database() {
    let data = tempfile::tempdir().expect("a folder");
    let demo = demo(data.path()).await;
    let site = &demo.sites[2];
    let mut kept = Connection::open_in_memory().expect("memory");
    let copy = |from: &Connection, to: &mut Connection| {
        let backup = rusqlite::backup::Backup::new(from, to).expect("two databases");
        backup.run_to_completion(1_000, std::time::Duration::ZERO, None).expect("copied");
    };
    copy(&Connection::open(&site.database).expect("a database"), &mut kept);

    assert_eq!(post(site, "/empty", "").await.status, 303);
    assert!(get(site, "/").await.text().contains("The shelves are empty"));
    assert!(uploads(site).is_empty());
    assert_eq!(get(site, "/products/1").await.status, 404);

    copy(&kept, &mut Connection::open(&site.database).expect("a database"));
    assert_eq!(get(site, "/").await.text().matches("class=card").count(), 12);
}

#[tokio::test]
async fn a_lost_table_is_an_error_page_and_nothing_worse() {
    let data = tempfile::tempdir().expect("a folder");
    let demo = demo(data.path()).await;
    let site = &demo.sites[2];
    let connection = Connection::open(&site.database).expect("a database");
    connection.execute_batch("ALTER TABLE products RENAME TO lost").expect("renamed");
    assert_eq!(get(site, "/").await.status, 500);
    connection.execute_batch("ALTER TABLE lost RENAME TO products").expect("renamed back");
    assert_eq!(get(site, "/").await.status, 200);
}

#[tokio::test]
async fn load_writes_the_same_number_to_both_places() {
    let data = tempfile::tempdir().expect("a folder");
    let demo = demo(data.path()).await;
    let site = &demo.sites[2];
    let mut numbers = futures::future::join_all((0..40).map(|_| async {
        let load: Load = serde_json::from_slice(&post(site, "/load", "").await.body).expect("JSON");
        load.database
    }))
    .await;
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=40).collect::<Vec<i64>>());
    let newest: Load = serde_json::from_slice(&get(site, "/load").await.body).expect("JSON");
    assert_eq!(newest, Load { database: 40, file: 40 });
    let lines: Vec<String> = (1..=40).map(|number| number.to_string()).collect();
    let file = std::fs::read_to_string(site.uploads.join("load.txt")).expect("a file");
    assert_eq!(file.lines().collect::<Vec<_>>(), lines);
}

#[test]
fn a_pot_is_drawn_the_same_each_time() {
    let products = catalog::products();
    let draw = |index: usize| picture::draw(products[index].shape, products[index].glaze).expect("drawn");
    assert_eq!(draw(0), draw(0));
    assert_ne!(draw(0), draw(1));
}
