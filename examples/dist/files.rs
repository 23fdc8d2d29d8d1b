// Made by `npm run build` in examples/.
&[
    ("assets/home-CUsYzo6w.js", include_bytes!("assets/home-CUsYzo6w.js")),
    ("assets/home-wGKhDsN9.css", include_bytes!("assets/home-wGKhDsN9.css")),
    ("assets/live-sales-BLkiqHQ5.js", include_bytes!("assets/live-sales-BLkiqHQ5.js")),
    ("assets/live-sales-DYcZ84bI.css", include_bytes!("assets/live-sales-DYcZ84bI.css")),
    ("assets/src-CuSP-4fA.css", include_bytes!("assets/src-CuSP-4fA.css")),
    ("assets/src-rC7U29JC.js", include_bytes!("assets/src-rC7U29JC.js")),
    ("assets/turnstile-CaYiP-NZ.js", include_bytes!("assets/turnstile-CaYiP-NZ.js")),
    ("assets/turnstile-DWDhR2AJ.css", include_bytes!("assets/turnstile-DWDhR2AJ.css")),
    ("assets/useStatus-BjjR-oDG.js", include_bytes!("assets/useStatus-BjjR-oDG.js")),
    ("icon.svg", include_bytes!("icon.svg")),
    ("index.html", include_bytes!("index.html")),
    ("live-sales/index.html", include_bytes!("live-sales/index.html")),
    ("turnstile/index.html", include_bytes!("turnstile/index.html")),
]
