# SPDX-License-Identifier: Apache-2.0
"""Learns a server's services by grpcio-reflection and checks its health by what
it learned: reflect.py ADDRESS.

Prints the services and the health.
"""

import sys

import grpc
from google.protobuf import descriptor_pool, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)


def main():
    channel = grpc.insecure_channel(sys.argv[1])
    database = ProtoReflectionDescriptorDatabase(channel)
    pool = descriptor_pool.DescriptorPool(database)
    for name in database.get_services():
        methods = pool.FindServiceByName(name).methods
        print(name, *(method.name for method in methods))
    check = pool.FindMethodByName("grpc.health.v1.Health.Check")
    request, response = (
        message_factory.GetMessageClass(message)
        for message in (check.input_type, check.output_type)
    )
    call = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=request.SerializeToString,
        response_deserializer=response.FromString,
    )
    print(str(call(request(), timeout=30)).strip())


if __name__ == "__main__":
    main()
