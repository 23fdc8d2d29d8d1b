// The two languages of the page. English texts are the keys, so that the code reads as the page does.

import { signal } from "./state";

const SPANISH: Record<string, string> = {
  "Live": "En vivo", "Sessions": "Sesiones", "Sources & log": "Fuentes y registro", "Routes": "Rutas", "Tail": "Flujo", "Explain": "Explicar",
  "Dashboard": "Panel", "Token": "Token", "Open": "Entrar", "Sign out": "Salir", "Theme": "Tema", "Language": "Idioma",
  "The token of [admin] or PREGON_ADMIN_TOKEN. It stays in this tab.": "El token de [admin] o PREGON_ADMIN_TOKEN. Se queda en esta pestaña.",
  "The token is wrong.": "El token no es correcto.",
  "connected": "conectado", "reconnecting…": "reconectando…", "ready": "listo", "not ready": "no está listo", "draining": "cerrando",
  "Connections": "Conexiones", "Channels": "Canales", "Events per second": "Eventos por segundo", "Deliveries per second": "Entregas por segundo",
  "Slow connections": "Conexiones lentas", "opened since the start": "abiertas desde el inicio", "followed now": "seguidos ahora",
  "waiting for slow clients": "en espera de clientes lentos", "from sources": "de las fuentes", "publications per second": "publicaciones por segundo",
  "The last two minutes": "Los últimos dos minutos", "Commit to write": "Del commit a la escritura", "of the last minute": "del último minuto",
  "median": "mediana", "no deliveries in the last minute": "sin entregas en el último minuto", "deliveries": "entregas", "events": "eventos",
  "By transport": "Por transporte", "Busiest channels": "Canales más seguidos", "Not delivered or not admitted": "No entregado o no admitido",
  "nothing yet": "nada todavía", "Channel": "Canal", "Followers": "Seguidores", "Reason": "Motivo", "Refused by address": "Rechazado por dirección", "of the last ten minutes": "de los últimos diez minutos", "Address and reason": "Dirección y motivo", "Count": "Veces", "Transport": "Transporte",
  "since the start": "desde el inicio", "Memory": "Memoria", "up": "activo desde hace",
  "State": "Estado", "Session": "Sesión", "User": "Usuario", "Address": "Dirección", "Since": "Desde", "Behind": "Atraso", "Actions": "Acciones",
  "Connected": "Conectadas", "Slow": "Lentas", "Closed recently": "Cerradas hace poco", "Search": "Buscar", "Disconnect": "Desconectar", "Revoke": "Revocar",
  "Only the first are shown: narrow the search.": "Se muestran solo las primeras: afine la búsqueda.",
  "No sessions.": "No hay sesiones.", "Closed": "Cerrada", "anonymous": "anónimo", "more": "más",
  "Close this session? Its client is told not to come back by itself.": "¿Cerrar esta sesión? Al cliente se le dice que no vuelva por sí solo.",
  "Revoke all present tokens of this user and close the sessions?": "¿Revocar todos los tokens actuales de este usuario y cerrar sus sesiones?",
  "Restore": "Restaurar", "Revoked users": "Usuarios revocados", "Nobody is revoked.": "Nadie está revocado.", "sessions closed": "sesiones cerradas",
  "Refresh": "Actualizar", "Cancel": "Cancelar", "Confirm": "Confirmar",
  "Sources": "Fuentes", "Name": "Nombre", "Kind": "Tipo", "Leads to": "Origen", "Events": "Eventos", "Routed": "Enrutados", "Gaps": "Huecos",
  "attached": "conectada", "not attached": "desconectada", "unknown": "desconocido", "Capture": "Captura", "Outbox": "Bandeja de salida", "Slot": "Slot",
  "rows": "filas", "Lag": "Atraso", "Stalled": "Detenido", "Log": "Registro", "Position": "Posición", "Entries": "Entradas", "Window": "Ventana",
  "Disk": "Disco", "Kept for": "Se conserva", "Oldest": "Más antigua", "Newest": "Más reciente", "segments": "segmentos", "Write errors": "Errores de escritura",
  "retained": "retenido", "Lag from the source's clock to the gateway": "Atraso desde el reloj de la fuente hasta el gateway", "close to its limit": "cerca de su límite", "in memory only": "solo en memoria", "Parts": "Partes",
  "Rule": "Regla", "From": "De", "When": "Cuando", "To": "A", "Event": "Evento", "Published": "Publicados", "Passed over": "Descartados",
  "Failed": "Fallidos", "Nobody": "Nadie", "Last": "Último", "always": "siempre", "never": "nunca", "counted since the start or the last reload": "contado desde el inicio o la última recarga",
  "Try a route": "Probar una ruta", "Source": "Fuente", "Operation": "Operación", "Row or message (JSON)": "Fila o mensaje (JSON)", "Old row (JSON)": "Fila anterior (JSON)",
  "Event that a client emits": "Evento que emite un cliente", "Try": "Probar", "publishes": "publica", "does nothing": "no hace nada",
  "No rule takes it.": "Ninguna regla lo toma.", "This is no JSON.": "Esto no es JSON.", "Events that no rule published": "Eventos que ninguna regla publicó",
  "Every event so far was published.": "Hasta ahora se publicaron todos los eventos.", "Time": "Hora", "Content": "Contenido", "Why?": "¿Por qué?",
  "Start": "Iniciar", "Pause": "Pausar", "Clear": "Limpiar", "All channels": "Todos los canales", "All events": "Todos los eventos", "All sources": "Todas las fuentes",
  "a part of the name, or a pattern such as room_{id}": "una parte del nombre, o un patrón como room_{id}", "entries left out": "entradas omitidas", "gap": "hueco",
  "Waiting for entries…": "Esperando entradas…", "Explain this entry": "Explicar esta entrada",
  "What fields hold that the source keeps encrypted is not shown.": "El contenido de los campos que la fuente guarda cifrados no se muestra.",
  "Why did, or did not, this user get this event?": "¿Por qué recibió, o no recibió, este usuario este evento?",
  "Event: position, offset or id": "Evento: posición, número o id", "Claims of the token (JSON, if not connected)": "Claims del token (JSON, si no está conectado)",
  "Channel, for entries that left memory": "Canal, para entradas que ya no están en memoria",
  "captured": "capturado", "routed": "enrutado", "logged": "registrado", "granted": "autorizado", "queued": "en cola", "written": "escrito",
  "yes": "sí", "no": "no", "Way of the event": "Camino del evento", "Sessions of the user": "Sesiones del usuario", "Sessions that have ended": "Sesiones terminadas",
  "had it": "lo tuvo", "The gateway says more in English.": "El detalle del servidor está en inglés.",
  "live": "al día", "slow": "lenta", "catching_up": "poniéndose al día", "without_token": "sin token", "closing": "cerrándose",
  "verdict.written": "Sí: se escribió en su conexión.", "verdict.queued": "En camino: espera en su conexión, que lee despacio.",
  "verdict.waiting": "Todavía no: espera detrás de entradas anteriores.", "verdict.before": "No se sabe: sigue el canal desde después; una repetición pudo traerlo.",
  "verdict.excepted": "No: el evento excluye a quienes siguen otro de sus canales.", "verdict.without_token": "No: la sesión todavía no envió su token.",
  "verdict.not_followed": "No: podría, pero ninguna sesión sigue el canal.", "verdict.not_granted": "No: sus derechos no le dan el canal.",
  "verdict.not_connected": "No: no está conectado a este nodo.", "verdict.written_before_closing": "Sí, a una conexión que ya terminó.",
  "verdict.no_route": "No: ninguna regla publicó el evento.", "verdict.not_found": "No se sabe: no se encuentra el evento.", "verdict.unknown": "No se sabe.",
};

const ENGLISH: Record<string, string> = {
  "catching_up": "catching up", "without_token": "without token",
  "verdict.written": "Yes: it was written to the user's connection.", "verdict.queued": "On its way: it waits in the connection, which reads slowly.",
  "verdict.waiting": "Not yet: it waits behind earlier entries.", "verdict.before": "Unknown: the channel is followed since later; a replay may have brought it.",
  "verdict.excepted": "No: the event leaves out the followers of another channel.", "verdict.without_token": "No: the session has not sent its token yet.",
  "verdict.not_followed": "No: it would be allowed, but no session follows the channel.", "verdict.not_granted": "No: the user's rights do not give the channel.",
  "verdict.not_connected": "No: the user is not connected to this node.", "verdict.written_before_closing": "Yes, to a connection that has ended since.",
  "verdict.no_route": "No: no rule published the event.", "verdict.not_found": "Unknown: the event is not found.", "verdict.unknown": "Unknown.",
};

export type Language = "es" | "en";

const stored = (): Language | null => {
  const kept = localStorage.getItem("pregon.language");
  return kept === "es" || kept === "en" ? kept : null;
};

export const language = signal<Language>(stored() ?? (navigator.language.startsWith("es") ? "es" : "en"));

export function speak(next: Language): void {
  localStorage.setItem("pregon.language", next);
  document.documentElement.lang = next;
  language.set(next);
}

/** The text in the present language. */
export const t = (text: string): string => (language.get() === "es" ? SPANISH : ENGLISH)[text] ?? text;
