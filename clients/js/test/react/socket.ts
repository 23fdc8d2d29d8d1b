// The browser's WebSocket, whose words are noted.

export class Noted extends WebSocket {
  static sockets: Noted[] = [];
  readonly said: any[] = [];

  constructor(url: string) {
    super(url);
    Noted.sockets.push(this);
  }

  override send(text: string): void {
    this.said.push(JSON.parse(text));
    super.send(text);
  }

  /** Those to an address: what an earlier test leaves behind may still connect. */
  static to(url: string): Noted[] {
    return Noted.sockets.filter((socket) => socket.url.startsWith(url));
  }

  /** What all of them said of this type. */
  static said(type: string): any[] {
    return Noted.sockets.flatMap(({ said }) => said).filter((command) => command.type === type);
  }
}
