"""The question of a JSON request: from the bytes of a body to a spec, a location, and the form of the reply."""

from dataclasses import dataclass

from active_storage.model.spec import ReductionSpec
from handler.doors.json_location import ObjectLocation, locate_object, locate_s3_object
from handler.doors.json_members import MembersV1, MembersV2, parse_members
from handler.doors.json_spec import build_json_spec
from handler.doors.urls import parse_origin


@dataclass(frozen=True, slots=True)
class JsonQuestion:
    """The question of a request.

    Attributes:
        spec: The reduction.
        location: The location of the object.
        shape_as_bytes: Whether the reply has its shape as bytes.
        count_as_bytes: Whether the reply has its counts as bytes.
    """

    spec: ReductionSpec
    location: ObjectLocation
    shape_as_bytes: bool = False
    count_as_bytes: bool = False


def parse_v1(reducer: str, body: bytes) -> JsonQuestion:
    """The question in a body of version 1.

    Raises:
        InvalidArgument: A member has a wrong name, type or value; ``field`` names it.
    """
    members = parse_members(MembersV1, body)
    location = locate_s3_object("source", parse_origin("source", members.source), members.bucket, members.object)
    return JsonQuestion(build_json_spec(reducer, members), location)


def parse_v2(reducer: str, body: bytes) -> JsonQuestion:
    """The question in a body of version 2.

    Raises:
        InvalidArgument: A member has a wrong name, type or value; ``field`` names it.
    """
    members = parse_members(MembersV2, body)
    return JsonQuestion(
        spec=build_json_spec(reducer, members, members.axis),
        location=locate_object(members.interface_type, members.url),
        shape_as_bytes=bool(members.option_shape_as_bytes),
        count_as_bytes=bool(members.option_count_as_bytes),
    )
