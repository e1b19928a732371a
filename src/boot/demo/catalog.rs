//! What the shop sells: eight shapes in six glazes.

/// A thrown pot, told by its outline.
pub struct Shape {
    pub name: &'static str,
    pub about: &'static str,
    pub price_cents: i64,
    /// Height and greatest radius, in parts of the picture's height.
    pub height: f32,
    pub radius: f32,
    /// The outline from rim to foot, evenly spaced, in parts of `radius`.
    pub outline: &'static [f32],
}

pub struct Glaze {
    pub name: &'static str,
    pub about: &'static str,
    /// Red, green, blue, 0 to 1.
    pub colour: [f32; 3],
    /// The wall behind it.
    pub wall: [f32; 3],
    /// How sharply it mirrors the window, 0 to 1.
    pub gloss: f32,
}

pub struct Product {
    pub id: i64,
    pub name: String,
    pub about: String,
    pub price_cents: i64,
    pub shape: &'static Shape,
    pub glaze: &'static Glaze,
}

/// All products, in the shop's order.
pub fn products() -> Vec<Product> {
    let pairs = SHAPES.iter().flat_map(|shape| GLAZES.iter().map(move |glaze| (shape, glaze)));
    let product = |(id, (shape, glaze)): (i64, (&'static Shape, &'static Glaze))| Product {
        id,
        name: format!("{} in {}", shape.name, glaze.name),
        about: format!("{} {}", shape.about, glaze.about),
        price_cents: shape.price_cents + 150 * (id % 5),
        shape,
        glaze,
    };
    (1..).zip(pairs).map(product).collect()
}

const SHAPES: [Shape; 8] = [
    Shape {
        name: "Rice bowl",
        about: "Thrown thin and turned to a narrow foot, it sits in one hand.",
        price_cents: 2_400,
        height: 0.24,
        radius: 0.27,
        outline: &[1.0, 0.985, 0.93, 0.82, 0.64, 0.44, 0.36, 0.38],
    },
    Shape {
        name: "Bud vase",
        about: "Made for a single stem; heavy enough at the foot to hold a branch.",
        price_cents: 3_600,
        height: 0.5,
        radius: 0.18,
        outline: &[0.34, 0.28, 0.27, 0.4, 0.72, 0.95, 1.0, 0.93, 0.76, 0.58, 0.5],
    },
    Shape {
        name: "Oil bottle",
        about: "Pours without a drip, and closes with the cork that comes with it.",
        price_cents: 4_200,
        height: 0.56,
        radius: 0.17,
        outline: &[0.32, 0.26, 0.25, 0.25, 0.34, 0.74, 0.97, 1.0, 1.0, 0.99, 0.98, 0.96],
    },
    Shape {
        name: "Morning cup",
        about: "Two sips larger than an espresso, without a handle, warm to the palm.",
        price_cents: 1_800,
        height: 0.26,
        radius: 0.17,
        outline: &[1.0, 0.97, 0.95, 0.94, 0.93, 0.9, 0.82, 0.62],
    },
    Shape {
        name: "Water jug",
        about: "A litre and a half, with a belly that keeps the water cool.",
        price_cents: 5_400,
        height: 0.52,
        radius: 0.22,
        outline: &[0.6, 0.52, 0.5, 0.56, 0.72, 0.9, 1.0, 0.99, 0.9, 0.76, 0.66],
    },
    Shape {
        name: "Supper plate",
        about: "Coupe-shaped, without a rim to chip; it stacks by the dozen.",
        price_cents: 2_800,
        height: 0.09,
        radius: 0.34,
        outline: &[1.0, 0.97, 0.9, 0.74, 0.56, 0.54],
    },
    Shape {
        name: "Candlestick",
        about: "Takes a common dinner candle, and catches what it drops.",
        price_cents: 3_200,
        height: 0.44,
        radius: 0.17,
        outline: &[0.42, 0.4, 0.26, 0.22, 0.3, 0.24, 0.22, 0.24, 0.3, 0.5, 0.9, 1.0, 0.98],
    },
    Shape {
        name: "Lidded jar",
        about: "For tea, salt or letters; the lid closes with a small sigh.",
        price_cents: 4_800,
        height: 0.42,
        radius: 0.2,
        outline: &[0.14, 0.2, 0.12, 0.5, 0.8, 0.92, 0.9, 0.98, 1.0, 1.0, 0.98, 0.92, 0.8, 0.66],
    },
];

const GLAZES: [Glaze; 6] = [
    Glaze {
        name: "sand",
        about: "A dry, speckled glaze, close to the bare clay.",
        colour: [0.80, 0.69, 0.54],
        wall: [0.55, 0.61, 0.62],
        gloss: 0.15,
    },
    Glaze {
        name: "celadon",
        about: "Wood-ash celadon, pooling to jade where it runs thick.",
        colour: [0.55, 0.70, 0.60],
        wall: [0.86, 0.80, 0.72],
        gloss: 0.7,
    },
    Glaze {
        name: "cobalt",
        about: "Cobalt under a clear glaze, as deep as it gets before black.",
        colour: [0.16, 0.28, 0.56],
        wall: [0.88, 0.85, 0.78],
        gloss: 0.85,
    },
    Glaze {
        name: "oxblood",
        about: "Copper red, fired without air; no two come out alike.",
        colour: [0.52, 0.13, 0.12],
        wall: [0.74, 0.72, 0.66],
        gloss: 0.8,
    },
    Glaze {
        name: "chalk",
        about: "A soft white that leaves the throwing lines to be felt.",
        colour: [0.93, 0.91, 0.86],
        wall: [0.42, 0.49, 0.50],
        gloss: 0.3,
    },
    Glaze {
        name: "tenmoku",
        about: "Iron black that breaks to rust along every edge.",
        colour: [0.17, 0.13, 0.12],
        wall: [0.80, 0.66, 0.48],
        gloss: 0.95,
    },
];
