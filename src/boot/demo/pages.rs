//! The shop's pages. They work without JavaScript, because they have none.

use std::fmt::Write;

use super::shop::{Counts, Product, Shelf};

pub fn front(site: &str, products: &[Product], counts: Counts) -> String {
    let mut main = String::from(
        "<section class=hero><p class=kicker>Stoneware, thrown by hand</p>\
         <h1>Quiet things for&nbsp;the&nbsp;table</h1></section>",
    );
    if products.is_empty() {
        main.push_str(
            "<section class=notice><h2>The shelves are empty</h2>\
             <p>Somebody emptied the shop. A restore would put everything back.</p></section>",
        );
    } else {
        main.push_str("<ul class=grid>");
        for product in products {
            let _ = write!(
                main,
                "<li><a class=card href=/products/{}>{}<span class=name>{}</span><span class=price>{}</span></a></li>",
                product.id,
                picture(product.picture.as_deref(), ""),
                escape(&product.name),
                price(product.price_cents),
            );
        }
        main.push_str("</ul>");
    }
    main.push_str(
        "<section class=danger><div><h2>Back room</h2><p>Deletes every product, with its pictures and reviews. \
         There is no way back, except for a snapshot.</p></div>\
         <form method=post action=/empty><button class=alarm>Empty the shop</button></form></section>",
    );
    page(site, "Still &amp; Co.", &main, Some(counts))
}

pub fn product(site: &str, shelf: &Shelf) -> String {
    let Shelf { product, pictures, reviews, counts } = shelf;
    let name = escape(&product.name);
    let mut main =
        String::from("<nav aria-label=Path><a href=/>All pots</a></nav><article class=product><div class=pictures>");
    main.push_str(&picture(product.picture.as_deref(), &name));
    for file in pictures.iter().skip(1) {
        let _ = write!(main, "{}", picture(Some(file), &format!("{name}, another view")));
    }
    let id = product.id;
    let _ = write!(
        main,
        "</div><div><h1>{name}</h1><p class=price>{}</p><p>{}</p>\
         <form method=post action=/products/{id}/orders><button>Order one</button></form>\
         <form class=upload method=post action=/products/{id}/pictures enctype=multipart/form-data>\
         <label for=picture>Add a photo of yours <small>JPEG, up to 5 MB</small></label>\
         <input id=picture name=picture type=file accept=image/jpeg required><button class=quiet>Upload</button></form>\
         </div></article><section id=reviews class=reviews><h2>Guest book</h2>",
        price(product.price_cents),
        escape(&product.about),
    );
    if reviews.is_empty() {
        main.push_str("<p>Nobody has written here yet.</p>");
    }
    for review in reviews {
        let stars = usize::try_from(review.stars.clamp(0, 5)).unwrap_or_default();
        let day: String = review.written_at.to_string().chars().take(10).collect();
        let _ = write!(
            main,
            "<figure><blockquote>{}</blockquote><figcaption><span class=stars role=img aria-label='{stars} of 5 stars'>\
             {}{}</span> {}, <time datetime={day}>{day}</time></figcaption></figure>",
            escape(&review.body),
            "★".repeat(stars),
            "☆".repeat(5 - stars),
            escape(&review.author),
        );
    }
    let _ = write!(
        main,
        "<form class=write method=post action=/products/{id}/reviews><h3>Write in it</h3>\
         <label for=author>Your name</label><input id=author name=author maxlength=80 autocomplete=name required>\
         <label for=stars>Stars</label><select id=stars name=stars><option>5<option>4<option>3<option>2<option>1</select>\
         <label for=body>What you think of it</label><textarea id=body name=body maxlength=2000 rows=4 required></textarea>\
         <button>Sign the guest book</button></form></section>",
    );
    page(site, &name, &main, Some(*counts))
}

pub fn ordered(site: &str, product: i64, order: i64, counts: Counts) -> String {
    let main = format!(
        "<section class=notice><h1>Thank you</h1><p>Your order has the number <strong>{order}</strong>.</p>\
         <p><a href=/products/{product}>Back to the pot</a></p></section>",
    );
    page(site, "Thank you", &main, Some(counts))
}

pub fn failure(text: &str) -> String {
    let text = escape(text);
    let main = format!(
        "<section class=notice><h1>That did not work</h1><p>{text}</p><p><a href=/>To the shop</a></p></section>"
    );
    page("", "That did not work", &main, None)
}

fn page(site: &str, title: &str, main: &str, counts: Option<Counts>) -> String {
    let foot = counts.map(|counts| {
        let Counts { orders, reviews, pictures } = counts;
        let (orders, reviews, pictures) = (grouped(orders), grouped(reviews), grouped(pictures));
        format!(
            "<dl><div><dt>Orders</dt><dd>{orders}</dd></div><div><dt>Reviews</dt><dd>{reviews}</dd></div>\
                 <div><dt>Pictures</dt><dd>{pictures}</dd></div></dl>"
        )
    });
    format!(
        "<!doctype html><html lang=en><head><meta charset=utf-8><title>{title}</title>\
         <meta name=viewport content='width=device-width, initial-scale=1'><link rel=stylesheet href=/shop.css></head>\
         <body><header><a class=brand href=/>Still &amp; Co.</a><span class=site>{}</span></header>\
         <main>{main}</main><footer>{}<p>A demo shop. Change it, break it, restore it.</p></footer></body></html>",
        escape(site),
        foot.unwrap_or_default(),
    )
}

fn picture(file: Option<&str>, alt: &str) -> String {
    match file {
        Some(file) => {
            let file = escape(file);
            format!("<img src='/pictures/{file}' alt='{alt}' width=400 height=400 loading=lazy>")
        }
        None => "<span class=blank aria-hidden=true></span>".into(),
    }
}

fn price(cents: i64) -> String {
    format!("€&nbsp;{}.{:02}", cents / 100, cents % 100)
}

/// Thousands set apart: `3,000`.
fn grouped(number: i64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Text as HTML, also within quotes.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
