//! Draws a product: a pot turned about its axis, on a table, lit by a window to the left.

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder, ImageError};

use super::catalog::{Glaze, Shape};

/// Pixels, both ways.
const SIZE: u32 = 400;
/// Where wall and table meet, and where the pot stands, in parts of the height from the top.
const HORIZON: f32 = 0.66;
const FOOT: f32 = 0.8;
/// How flat a circle looks from this height: an ellipse's height by its width.
const TILT: f32 = 0.2;

type Colour = [f32; 3];

/// The picture as JPEG; the same for the same pot, to the byte.
pub fn draw(shape: &Shape, glaze: &Glaze) -> Result<Vec<u8>, ImageError> {
    let mut pixels = Vec::with_capacity((SIZE * SIZE * 3) as usize);
    for row in 0..SIZE {
        for column in 0..SIZE {
            let x = (column as f32 + 0.5) / SIZE as f32 - 0.5;
            let y = (row as f32 + 0.5) / SIZE as f32;
            let grain = (grain(column, row) - 0.5) * 0.018;
            pixels.extend(pixel(shape, glaze, x, y).map(|part| ((part + grain).clamp(0.0, 1.0) * 255.0) as u8));
        }
    }
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, 84).write_image(&pixels, SIZE, SIZE, ExtendedColorType::Rgb8)?;
    Ok(jpeg)
}

fn pixel(shape: &Shape, glaze: &Glaze, x: f32, y: f32) -> Colour {
    let scene = scene(shape, glaze, x, y);
    let top = FOOT - shape.height;

    let margin = 2.0 / SIZE as f32;
    if x.abs() > shape.radius + margin || y < top - shape.radius * TILT - margin || y > FOOT + shape.radius * TILT {
        return scene;
    }

    // The body ends below in half an ellipse, the near edge of its foot.
    let foot_radius = shape.radius * outline(shape.outline, 1.0);
    let bulge = foot_radius * TILT * (1.0 - (x / foot_radius).powi(2)).max(0.0).sqrt();
    let along = (y - top) / shape.height;
    let radius = shape.radius * outline(shape.outline, along.clamp(0.0, 1.0));
    let inside = (radius - x.abs()).min(y - top).min(FOOT + bulge - y);
    let body = mix(scene, glazed(shape, glaze, x / radius.max(0.001), along), smooth(inside * SIZE as f32 + 0.5));

    // The opening: an ellipse about the rim, darker inside, with a light lip.
    let rim = shape.radius * shape.outline[0];
    let from_centre = ((x / rim).powi(2) + ((y - top) / (rim * TILT)).powi(2)).sqrt();
    let cover = smooth((1.0 - from_centre) * rim * TILT * SIZE as f32 + 0.5);
    let depth = ((y - top) / (rim * TILT) * 0.5 + 0.5).clamp(0.0, 1.0);
    let within = scale(glaze.colour, 0.35 + 0.45 * depth + 0.12 * (x / rim));
    let lip = mix(scale(glaze.colour, 1.1), [1.0; 3], 0.12);
    let opening = mix(lip, within, smooth((0.93 - from_centre) * rim * SIZE as f32 * 0.4));
    mix(body, opening, cover)
}

/// Wall and table, and the pot's shadow on it.
fn scene(shape: &Shape, glaze: &Glaze, x: f32, y: f32) -> Colour {
    let light = 1.12 - 0.45 * ((x + 0.42).powi(2) + (y - 0.12).powi(2)).sqrt();
    let wall = scale(glaze.wall, light);
    let near = ((y - HORIZON) / (1.0 - HORIZON)).clamp(0.0, 1.0);
    let table = scale(mix(glaze.wall, [0.62, 0.50, 0.39], 0.6), 0.82 + 0.2 * near - 0.22 * (x + 0.2));
    let ground = mix(wall, table, smooth((y - HORIZON) * SIZE as f32 * 0.6));

    let foot = shape.radius * outline(shape.outline, 1.0);
    let (long, flat) = (foot + shape.height * 0.5, foot * TILT * 1.4 + 0.012);
    let shadow = ((x - long * 0.45) / long).powi(2) + ((y - FOOT - 0.005) / flat).powi(2);
    let dark = (1.0 - shadow).clamp(0.0, 1.0).sqrt() * 0.5;
    if y > HORIZON { scale(ground, 1.0 - dark) } else { ground }
}

/// The glaze at a place of the body: `across` runs from -1 at the left edge to 1, `along` from rim to foot.
fn glazed(shape: &Shape, glaze: &Glaze, across: f32, along: f32) -> Colour {
    let across = across.clamp(-1.0, 1.0);
    let turn = (1.0 - across * across).sqrt();
    let slope = outline(shape.outline, (along + 0.03).min(1.0)) - outline(shape.outline, (along - 0.03).max(0.0));
    // The light stands to the left, above and before the pot.
    let lit = (-across * 0.58 + turn * 0.62 + slope.clamp(-0.5, 0.5) * 0.7).clamp(0.0, 1.0);
    let bounced = (across - 0.55).max(0.0) * 0.28;
    let pooled = 1.0 - 0.18 * along + 0.03 * (along * 46.0).sin();
    let colour = scale(glaze.colour, (0.34 + 0.86 * lit) * pooled);
    let colour = mix(colour, glaze.wall, bounced);
    let window = (1.0 - ((across + 0.45) / 0.13).powi(2)).clamp(0.0, 1.0)
        * (1.0 - ((along - 0.36) / 0.24).powi(4)).clamp(0.0, 1.0);
    mix(colour, [1.0, 0.99, 0.96], window * glaze.gloss * 0.62)
}

/// The outline's radius at `along` (0 rim, 1 foot), smooth between its points.
fn outline(points: &[f32], along: f32) -> f32 {
    let place = along * (points.len() - 1) as f32;
    let index = (place as usize).min(points.len() - 2);
    let point = |i: usize| points[i.min(points.len() - 1)];
    let (before, from, to, after) = (point(index.saturating_sub(1)), point(index), point(index + 1), point(index + 2));
    let t = place - index as f32;
    // Catmull and Rom's spline.
    let bend = 2.0 * before - 5.0 * from + 4.0 * to - after;
    let cube = -before + 3.0 * from - 3.0 * to + after;
    (0.5 * (2.0 * from + (to - before) * t + bend * t * t + cube * t * t * t)).max(0.02)
}

fn smooth(distance: f32) -> f32 {
    distance.clamp(0.0, 1.0)
}

fn mix(a: Colour, b: Colour, part: f32) -> Colour {
    [0, 1, 2].map(|i| a[i] + (b[i] - a[i]) * part)
}

fn scale(colour: Colour, by: f32) -> Colour {
    colour.map(|part| part * by)
}

/// Film grain, 0 to 1, from the place alone; it hides the steps of JPEG's gradients.
fn grain(x: u32, y: u32) -> f32 {
    let mixed = (x.wrapping_mul(0x9E37_79B1) ^ y.wrapping_mul(0x85EB_CA77)).wrapping_mul(0xC2B2_AE3D);
    (mixed >> 8) as f32 / (1 << 24) as f32
}
