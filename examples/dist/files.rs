// Made by `npm run build` in examples/.
&[
    ("assets/home-Bif_ZsRR.js", include_bytes!("assets/home-Bif_ZsRR.js")),
    ("assets/home-wGKhDsN9.css", include_bytes!("assets/home-wGKhDsN9.css")),
    ("assets/live-sales-5EEAN5ub.js", include_bytes!("assets/live-sales-5EEAN5ub.js")),
    ("assets/live-sales-Cv3fcm-I.css", include_bytes!("assets/live-sales-Cv3fcm-I.css")),
    ("assets/src-Dp4LSgKG.js", include_bytes!("assets/src-Dp4LSgKG.js")),
    ("assets/src-ibRRc-7e.css", include_bytes!("assets/src-ibRRc-7e.css")),
    ("assets/turnstile-DqlxPU1C.js", include_bytes!("assets/turnstile-DqlxPU1C.js")),
    ("assets/turnstile-f184Wrqc.css", include_bytes!("assets/turnstile-f184Wrqc.css")),
    ("assets/useStatus-CgwvhMib.js", include_bytes!("assets/useStatus-CgwvhMib.js")),
    ("icon.svg", include_bytes!("icon.svg")),
    ("index.html", include_bytes!("index.html")),
    ("live-sales/index.html", include_bytes!("live-sales/index.html")),
    ("turnstile/index.html", include_bytes!("turnstile/index.html")),
]
