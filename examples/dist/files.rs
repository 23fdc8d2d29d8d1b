// Made by `npm run build` in examples/.
&[
    ("assets/home-BWQUiybr.js", include_bytes!("assets/home-BWQUiybr.js")),
    ("assets/home-wGKhDsN9.css", include_bytes!("assets/home-wGKhDsN9.css")),
    ("assets/live-sales-CHnSZtRm.js", include_bytes!("assets/live-sales-CHnSZtRm.js")),
    ("assets/live-sales-Cv3fcm-I.css", include_bytes!("assets/live-sales-Cv3fcm-I.css")),
    ("assets/src-DlrvQ6kW.js", include_bytes!("assets/src-DlrvQ6kW.js")),
    ("assets/src-ibRRc-7e.css", include_bytes!("assets/src-ibRRc-7e.css")),
    ("assets/turnstile-Bp3NZsCR.js", include_bytes!("assets/turnstile-Bp3NZsCR.js")),
    ("assets/turnstile-f184Wrqc.css", include_bytes!("assets/turnstile-f184Wrqc.css")),
    ("assets/useStatus-1HVoew9f.js", include_bytes!("assets/useStatus-1HVoew9f.js")),
    ("icon.svg", include_bytes!("icon.svg")),
    ("index.html", include_bytes!("index.html")),
    ("live-sales/index.html", include_bytes!("live-sales/index.html")),
    ("turnstile/index.html", include_bytes!("turnstile/index.html")),
]
