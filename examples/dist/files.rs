// Made by `npm run build` in examples/.
&[
    ("assets/home-DS4rooqh.js", include_bytes!("assets/home-DS4rooqh.js")),
    ("assets/home-wGKhDsN9.css", include_bytes!("assets/home-wGKhDsN9.css")),
    ("assets/live-sales-Cv3fcm-I.css", include_bytes!("assets/live-sales-Cv3fcm-I.css")),
    ("assets/live-sales-DbWcJ3go.js", include_bytes!("assets/live-sales-DbWcJ3go.js")),
    ("assets/src-DdvZZe_Y.js", include_bytes!("assets/src-DdvZZe_Y.js")),
    ("assets/src-ibRRc-7e.css", include_bytes!("assets/src-ibRRc-7e.css")),
    ("assets/turnstile-DutylD1t.js", include_bytes!("assets/turnstile-DutylD1t.js")),
    ("assets/turnstile-f184Wrqc.css", include_bytes!("assets/turnstile-f184Wrqc.css")),
    ("assets/useStatus-DT7qdcyb.js", include_bytes!("assets/useStatus-DT7qdcyb.js")),
    ("icon.svg", include_bytes!("icon.svg")),
    ("index.html", include_bytes!("index.html")),
    ("live-sales/index.html", include_bytes!("live-sales/index.html")),
    ("turnstile/index.html", include_bytes!("turnstile/index.html")),
]
