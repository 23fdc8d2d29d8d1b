// Made by `npm run build` in examples/.
&[
    ("assets/home-fWU7xT47.js", include_bytes!("assets/home-fWU7xT47.js")),
    ("assets/home-wGKhDsN9.css", include_bytes!("assets/home-wGKhDsN9.css")),
    ("assets/live-sales-BT0S6MN9.js", include_bytes!("assets/live-sales-BT0S6MN9.js")),
    ("assets/live-sales-Cv3fcm-I.css", include_bytes!("assets/live-sales-Cv3fcm-I.css")),
    ("assets/src-ZAD6cRx8.js", include_bytes!("assets/src-ZAD6cRx8.js")),
    ("assets/src-ibRRc-7e.css", include_bytes!("assets/src-ibRRc-7e.css")),
    ("assets/turnstile-Lb49N9Ss.js", include_bytes!("assets/turnstile-Lb49N9Ss.js")),
    ("assets/turnstile-f184Wrqc.css", include_bytes!("assets/turnstile-f184Wrqc.css")),
    ("assets/useStatus-BYxQNIia.js", include_bytes!("assets/useStatus-BYxQNIia.js")),
    ("icon.svg", include_bytes!("icon.svg")),
    ("index.html", include_bytes!("index.html")),
    ("live-sales/index.html", include_bytes!("live-sales/index.html")),
    ("turnstile/index.html", include_bytes!("turnstile/index.html")),
]
