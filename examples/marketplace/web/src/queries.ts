// What the views ask the report service; its types are in ../report/schema.graphql. Always whole: the demo, which has no Node to run the
// service, answers these three by their names.

import { gql, type TypedDocumentNode } from "@apollo/client";

export interface Product {
  id: number;
  sellerId: number;
  name: string;
  price: number;
  stock: number;
  low: boolean;
}

export interface Order {
  id: number;
  product: string;
  customer: string;
  quantity: number;
  total: number;
  createdAt: string;
}

export interface Sales {
  name: string;
  orders: number;
  revenue: number;
}

export interface SellerReport {
  sellerId: number;
  orders: number;
  revenue: number;
  best: Sales[];
  products: Product[];
  recent: Order[];
}

export interface AdminReport {
  orders: number;
  revenue: number;
  customers: number;
  newest: { id: number; name: string }[];
  sellers: Sales[];
  low: Product[];
  recent: Order[];
}

export const SHOP: TypedDocumentNode<{ shop: { products: Product[] } }, Record<string, never>> = gql`
  query Shop {
    shop {
      products {
        id
        sellerId
        name
        price
        stock
        low
      }
    }
  }
`;

export const SELLER: TypedDocumentNode<{ sellerReport: SellerReport }, Record<string, never>> = gql`
  query SellerReport {
    sellerReport {
      sellerId
      orders
      revenue
      best {
        name
        orders
        revenue
      }
      products {
        id
        sellerId
        name
        price
        stock
        low
      }
      recent {
        id
        product
        customer
        quantity
        total
        createdAt
      }
    }
  }
`;

export const ADMIN: TypedDocumentNode<{ adminReport: AdminReport }, Record<string, never>> = gql`
  query AdminReport {
    adminReport {
      orders
      revenue
      customers
      newest {
        id
        name
      }
      sellers {
        name
        orders
        revenue
      }
      low {
        id
        sellerId
        name
        price
        stock
        low
      }
      recent {
        id
        product
        customer
        quantity
        total
        createdAt
      }
    }
  }
`;
