// Made by `npm run build` in examples/.
&[
    ("assets/home-DbYs2Ozw.js", include_bytes!("assets/home-DbYs2Ozw.js")),
    ("assets/home-wGKhDsN9.css", include_bytes!("assets/home-wGKhDsN9.css")),
    ("assets/live-sales-Cv3fcm-I.css", include_bytes!("assets/live-sales-Cv3fcm-I.css")),
    ("assets/live-sales-vvtE6lWl.js", include_bytes!("assets/live-sales-vvtE6lWl.js")),
    ("assets/src-CdO0qbtl.js", include_bytes!("assets/src-CdO0qbtl.js")),
    ("assets/src-ibRRc-7e.css", include_bytes!("assets/src-ibRRc-7e.css")),
    ("assets/turnstile-Bs6tR5ZS.js", include_bytes!("assets/turnstile-Bs6tR5ZS.js")),
    ("assets/turnstile-f184Wrqc.css", include_bytes!("assets/turnstile-f184Wrqc.css")),
    ("assets/useStatus-BZVW9S4S.js", include_bytes!("assets/useStatus-BZVW9S4S.js")),
    ("icon.svg", include_bytes!("icon.svg")),
    ("index.html", include_bytes!("index.html")),
    ("live-sales/index.html", include_bytes!("live-sales/index.html")),
    ("turnstile/index.html", include_bytes!("turnstile/index.html")),
]
