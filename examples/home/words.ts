// The words of the first page, and of each example in a sentence.

interface About {
  title: string;
  text: string;
  /** What it is made with. */
  with: string;
}

const es = {
  title: "Cinco aplicaciones en vivo",
  lead: "Lo que se confirma en PostgreSQL o se publica en Redis llega a las pantallas en milisegundos, y no se pierde aunque algo se caiga. Abra una en dos ventanas y mate lo que quiera.",
  now: "Lo último que entró",
  gateway: "Pasarela",
  own: "Hágalo usted",
  open: "Abrir",
  admin: "Tablero",
  end: "Ctrl-C en la terminal lo detiene todo y no deja nada.",
  about: {
    "live-sales": {
      title: "Ventas en vivo",
      text: "El total del día, una gráfica y avisos cuando un producto se acaba.",
      with: "@pregon/react · WebSocket · sin token",
    },
    turnstile: {
      title: "Torniquete",
      text: "La caja de un gimnasio ve quién entra, y lo que pasó mientras no estaba.",
      with: "@pregon/react · WebSocket · token",
    },
    "chat-inbox": {
      title: "Buzón de chat",
      text: "Conversaciones que se ordenan solas; los textos están cifrados en la base.",
      with: "socket.io-client · AES-256-GCM",
    },
    marketplace: {
      title: "Mercado",
      text: "Pedidos, vendedores y administración: cada quien recibe solo lo suyo.",
      with: "Redis · WebSocket por rol · Apollo",
    },
    "whatsapp-router": {
      title: "WhatsApp",
      text: "Un teléfono de un lado, el buzón de los agentes del otro.",
      with: "pregon router · webhooks firmados · socket.io-client",
    },
  } as Record<string, About>,
};

const en: typeof es = {
  title: "Five live applications",
  lead: "What is committed to PostgreSQL or published in Redis is on people's screens within milliseconds, and is not lost when something falls. Open one in two windows, and kill what you like.",
  now: "What went in last",
  gateway: "Gateway",
  own: "Do it yourself",
  open: "Open",
  admin: "Dashboard",
  end: "Ctrl-C in the terminal stops everything and leaves nothing behind.",
  about: {
    "live-sales": {
      title: "Live sales",
      text: "The day's total, a chart, and a word when a product runs low.",
      with: "@pregon/react · WebSocket · no token",
    },
    turnstile: {
      title: "Turnstile",
      text: "A gym's till sees who comes in, and what happened while it was away.",
      with: "@pregon/react · WebSocket · token",
    },
    "chat-inbox": {
      title: "Chat inbox",
      text: "Conversations that put themselves in order; their texts lie encrypted in the database.",
      with: "socket.io-client · AES-256-GCM",
    },
    marketplace: {
      title: "Marketplace",
      text: "Orders, sellers and administration: everybody gets their own, and no more.",
      with: "Redis · WebSocket by role · Apollo",
    },
    "whatsapp-router": {
      title: "WhatsApp",
      text: "A phone on one side, the agents' inbox on the other.",
      with: "pregon router · signed webhooks · socket.io-client",
    },
  },
};

export const words = { es, en };
